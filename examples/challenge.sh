#!/usr/bin/env bash
# From the folder of Aff-Wild2 to the submission file of the ABAW EXPR challenge.
#
#     bash examples/challenge.sh ROOT OUT                       the compact system, on a CPU
#     SYSTEM=two-stage bash examples/challenge.sh ROOT OUT      arXiv 2603.12221
#     SYSTEM=dual-branch bash examples/challenge.sh ROOT OUT    arXiv 2603.08034
#
# The published systems first train their image backbone on labelled images (Stage I):
#
#     abaw manifest affectnet IMAGES/AffectNet raf-db IMAGES/RAF-DB -o MANIFEST
#     abaw train face --images IMAGES --manifest MANIFEST --backbone facebook/dinov2-large -o stage1
#
# Then VISUAL=stage1/encoder.safetensors is that encoder. Without it, the pretrained backbone is used as
# it is. AUDIO is the audio backbone. SCALES are the sizes of the crops, those of VISUAL: 1.0 for
# compact-face and encoders that begin from it, "0.9 1.2 1.5" for the other ones.
#
# ROOT is the data as the organisers distribute it:
#
#     ROOT/videos/                       *.mp4 and *.avi, in subfolders (batch1, ...) or not
#     ROOT/EXPR_Recognition_Challenge/   Train_Set/*.txt and Validation_Set/*.txt
#     ROOT/Expression_Recognition_Challenge_test_set_release.txt    one name per line
#     ROOT/sample.txt                    the sample submission
#     ROOT/cropped_aligned/              optional: their crops, one folder per name
#
# All outputs go to OUT; the last one is OUT/predictions.txt. Each step skips finished work, so after an
# interruption or a corrected mistake, start the script again. If features or annotations of the training
# changed, `abaw train` refuses to go on with the old run: remove OUT/run first.
set -euo pipefail

ROOT=${1:-Aff-Wild2}
OUT=${2:-challenge}
SYSTEM=${SYSTEM:-compact}
FALLBACK=${FALLBACK:-0} # label of test videos without face and speech; 0 is Neutral, the most frequent
EPOCHS=${EPOCHS:-}      # training epochs; empty: those of the head

case "$SYSTEM" in
compact) HEAD=gated VISUAL=${VISUAL:-compact-face} AUDIO=${AUDIO:-compact-voice} SCALES=${SCALES:-1.0} ;;
two-stage)
    HEAD=gated SCALES=${SCALES:-0.9 1.2 1.5} VISUAL=${VISUAL:-facebook/dinov2-large}
    AUDIO=${AUDIO:-facebook/wav2vec2-large-960h-lv60-self}
    ;;
dual-branch)
    HEAD=dual-branch SCALES=${SCALES:-0.9 1.2 1.5} VISUAL=${VISUAL:-microsoft/beit-large-patch16-224}
    AUDIO=${AUDIO:-microsoft/wavlm-large}
    ;;
*)
    echo "SYSTEM must be compact, two-stage or dual-branch, not $SYSTEM" >&2
    exit 2
    ;;
esac

LABELS="$ROOT/EXPR_Recognition_Challenge"
TEST_LIST="$ROOT/Expression_Recognition_Challenge_test_set_release.txt"
SAMPLE="$ROOT/sample.txt"

for needed in "$ROOT/videos" "$LABELS/Train_Set" "$LABELS/Validation_Set" "$TEST_LIST" "$SAMPLE"; do
    [ -e "$needed" ] || { echo "$needed is missing; see the top of $0" >&2; exit 2; }
done

say() { printf '\n== %s\n' "$*" >&2; }

# --- Names. A name is that of a video, or of a person in it: x_left and x_right are two people in x.mp4.
# Annotations have the names of their files. Windows line ends of the list are removed.
mkdir -p "$OUT/videos" "$OUT/crops"
OUT=$(cd "$OUT" && pwd) # outputs of files in a list are named by the paths there, if these are relative
name_files() { for file in "$1"/*.txt; do basename "$file" .txt; done; }
name_files "$LABELS/Train_Set" > "$OUT/train.names"
name_files "$LABELS/Validation_Set" > "$OUT/valid.names"
tr -d '\r' < "$TEST_LIST" | sed '/^[[:blank:]]*$/d' > "$OUT/test.names"

# --- Videos. Links to all videos in one folder.
absolute() { (cd "$(dirname "$1")" && printf '%s/%s\n' "$PWD" "$(basename "$1")"); }
find -L "$ROOT/videos" -type f \( -iname '*.mp4' -o -iname '*.avi' \) | while IFS= read -r video; do
    ln -sfn "$(absolute "$video")" "$OUT/videos/$(basename "$video")"
done

find_video() { # NAME: print the path of its video
    local stem video
    for stem in "$1" "$(sed -E 's/_(left|right)$//' <<< "$1")"; do
        for video in "$OUT/videos/$stem".*; do
            if [ -e "$video" ]; then
                printf '%s\n' "$video"
                return
            fi
        done
    done
    echo "no video for $1 in $ROOT/videos" >&2
    return 1
}

# --- Crops. Official crops are used if they exist. A name without them (no face was found, or there is
# no cropped_aligned/) is cropped here. OUT/strategy.csv says whose face is used. An empty second cell
# means: decide by the name, so that x_left is the left person in x. If that is wrong for a name, write
# `track 3`, `largest`, ... there and start the script again; it keeps existing rows. See `abaw crop
# --help`; `abaw sheet` draws the tracks of a video.
say "crop"
[ -e "$OUT/strategy.csv" ] || echo "video,strategy" > "$OUT/strategy.csv"
: > "$OUT/to_crop.list"
sort -u "$OUT"/*.names | while IFS= read -r name; do
    if compgen -G "$ROOT/cropped_aligned/$name/*.jpg" > /dev/null &&
        [ ! -e "$OUT/crops/$name/faces.parquet" ]; then # not cropped here before
        ln -sfn "$(absolute "$ROOT/cropped_aligned/$name")" "$OUT/crops/$name"
    else
        cut -d, -f1 "$OUT/strategy.csv" | grep -qxF -e "$name" ||
            printf '%s,\n' "$name" >> "$OUT/strategy.csv"
        find_video "$name" >> "$OUT/to_crop.list"
    fi
done
if [ -s "$OUT/to_crop.list" ]; then
    # shellcheck disable=SC2046,SC2086  # an option for each scale
    abaw crop "@$OUT/to_crop.list" -o "$OUT/crops" --strategy "$OUT/strategy.csv" \
        $(printf -- '--scale %s ' $SCALES)
fi

# --- Visual and audio features, one row per frame. The audio, and the timestamps of official crops, come
# from the videos. Frames without a face have a row too, with audio features only.
say "extract"
abaw extract "$OUT/crops" -o "$OUT/features" --audio-from "$OUT/videos" --visual "$VISUAL" --audio "$AUDIO"

# --- Training. The validation set chooses the best epoch. Files are matched by name; a warning that
# features of the other sets are left out is expected. Annotations may be one or two rows longer or
# shorter than their video, and may have the seven classes of older editions.
say "train"
abaw train head "$OUT/features" --labels "$LABELS/Train_Set" \
    --valid-features "$OUT/features" --valid-labels "$LABELS/Validation_Set" \
    -o "$OUT/run" --head "$HEAD" ${EPOCHS:+--epochs "$EPOCHS"}

list_features() { sed "s|.*|$OUT/features/&.safetensors|" "$OUT/$1.names" > "$OUT/$1.list"; }

# --- Validation. The challenge's score on the validation set, and the best smoothing and biases of classes
# there. The figures `cross-validated` estimate their gain on other videos.
say "validate"
list_features valid
abaw predict "@$OUT/valid.list" -o "$OUT/valid" --recipe "$OUT/run/head.safetensors" --label-all \
    --no-smooth --logits
abaw score "$OUT/valid" "$LABELS/Validation_Set"
abaw score "$OUT/valid" "$LABELS/Validation_Set" --sweep -o "$OUT/sweep.json"

# --- The test set: as predicted, smoothed, or smoothed with a bias of each class, whichever scores best
# on the validation set by cross-validation; of equal ones, the first.
say "predict"
list_features test
abaw predict "@$OUT/test.list" -o "$OUT/test" --recipe "$OUT/run/head.safetensors" --label-all \
    --no-smooth --logits
predictions="$OUT/test"
# The sweep has figures and commands of smoothing at two spaces, and those with biases at four.
figure() { sed -n "s/^$1\"$2\": \([0-9.e-]*\),\{0,1\}$/\1/p" "$OUT/sweep.json"; }
options() { sed -n "s/^$1\"command\": \"abaw smooth .*\(--smoothing .*\)\".*/\1/p" "$OUT/sweep.json"; }
choose_options() { # print those of `abaw smooth`; nothing where predictions are best as they are
    local raw smoothed biased
    raw=$(figure "  " as_predicted) smoothed=$(figure "  " cross_validated)
    biased=$(figure "    " cross_validated)
    if awk "BEGIN { exit !($biased > $raw && $biased > $smoothed) }"; then
        options "    "
    elif awk "BEGIN { exit !($smoothed > $raw) }"; then
        options "  "
    fi
}
smoothing=$(choose_options)
if [ -n "$smoothing" ]; then
    say "smooth: $smoothing"
    # shellcheck disable=SC2086  # several words: --smoothing median --window 25 ...
    abaw smooth "$predictions" -o "$OUT/test-smoothed" $smoothing
    predictions="$OUT/test-smoothed"
else
    say "neither smoothing nor a bias has a cross-validated gain: the predictions are submitted as they are"
fi

# --- The submission: every row of the sample, in its order. A row without a frame or a label gets the
# nearest prediction. A video without any (no face, no speech) gets the label FALLBACK. An older submission
# may be of the other folder of predictions, or edited: if it differs, it is kept under another name.
say "submit"
mkdir -p "$OUT/fallback"
: > "$OUT/submit.list"
while IFS= read -r name || [ -n "$name" ]; do # the last line may have no line end
    table="$predictions/$name.csv"
    if awk -F, 'NR == 1 { for (k = 1; k <= NF; k++) if ($k == "label") c = k; next }
                $c >= 0 { found = 1; exit } END { exit !found }' "$table"; then
        printf '%s\n' "$table" >> "$OUT/submit.list"
    else
        echo "$name has neither face nor speech: all its frames get the label $FALLBACK" >&2
        awk -v label="$FALLBACK" 'NR == 1 { print "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
            next } { print label }' "$table" > "$OUT/fallback/$name.txt"
        printf '%s\n' "$OUT/fallback/$name.txt" >> "$OUT/submit.list"
    fi
done < "$OUT/test.names"
older=
if [ -e "$OUT/predictions.txt" ]; then
    older=$OUT/predictions.$(date +%Y-%m-%d-%H%M%S).txt
    mv -n "$OUT/predictions.txt" "$older"
fi
abaw submit "@$OUT/submit.list" --template "$SAMPLE" -o "$OUT/predictions.txt"
if [ -n "$older" ] && cmp -s "$older" "$OUT/predictions.txt"; then
    rm "$older"
fi
abaw submit --check "$OUT/predictions.txt" --template "$SAMPLE"
