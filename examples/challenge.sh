#!/usr/bin/env bash
# From the folder of Aff-Wild2 to the submission file of the ABAW EXPR challenge.
#
#     bash examples/challenge.sh ROOT OUT
#
# ROOT is the data as the organisers give it out:
#
#     ROOT/videos/                       *.mp4 and *.avi, in folders (batch1, ...) or not
#     ROOT/EXPR_Recognition_Challenge/   Train_Set/*.txt and Validation_Set/*.txt
#     ROOT/Expression_Recognition_Challenge_test_set_release.txt    a name a line
#     ROOT/sample.txt                    the sample submission
#     ROOT/cropped_aligned/              optional: their crops, a folder a name
#
# Everything that is made goes to OUT; the last file is OUT/predictions.txt. Each step skips what
# it has finished, so after an interruption, or a mistake mended, just start the script again.
set -euo pipefail

ROOT=${1:-Aff-Wild2}
OUT=${2:-challenge}
EPOCHS=${EPOCHS:-20} # passes of the training; 20 is what `abaw train head` does by itself

LABELS="$ROOT/EXPR_Recognition_Challenge"
TEST_LIST="$ROOT/Expression_Recognition_Challenge_test_set_release.txt"
SAMPLE="$ROOT/sample.txt"

for needed in "$ROOT/videos" "$LABELS/Train_Set" "$LABELS/Validation_Set" "$TEST_LIST" "$SAMPLE"; do
    [ -e "$needed" ] || { echo "$needed is missing; see the top of $0" >&2; exit 2; }
done

say() { printf '\n== %s\n' "$*" >&2; }

# --- Names. A name is a video's, or a person's in it: x_left and x_right are two people of x.mp4.
# The names of the annotations are those of their files; Windows line ends of the list go.
mkdir -p "$OUT/videos" "$OUT/crops"
name_files() { for file in "$1"/*.txt; do basename "$file" .txt; done; }
name_files "$LABELS/Train_Set" > "$OUT/train.names"
name_files "$LABELS/Validation_Set" > "$OUT/valid.names"
tr -d '\r' < "$TEST_LIST" | sed '/^[[:blank:]]*$/d' > "$OUT/test.names"

# --- Videos. Links to all of them in one folder, whatever the folders they come in.
absolute() { (cd "$(dirname "$1")" && printf '%s/%s\n' "$PWD" "$(basename "$1")"); }
find -L "$ROOT/videos" -type f \( -iname '*.mp4' -o -iname '*.avi' \) | while IFS= read -r video; do
    ln -sfn "$(absolute "$video")" "$OUT/videos/$(basename "$video")"
done

find_video() { # NAME: the video that it is about
    local stem video
    for stem in "$1" "$(sed -E 's/_(left|right)$//' <<< "$1")"; do
        for video in "$OUT/videos/$stem".*; do
            if [ -e "$video" ]; then
                printf '%s\n' "$video"
                return
            fi
        done
    done
    echo "no video of $1 in $ROOT/videos" >&2
    return 1
}

# --- Crops. Where there are official ones they are taken; a name that has none (no face was
# found, or there is no cropped_aligned/ at all) is cropped here. OUT/strategy.csv says whose face:
# the empty second cell leaves it to the name, so that x_left is the left person of x. For a name
# for which that is wrong, write `track 3`, `largest`, ... there and start again: rows that are
# there stay (see `abaw crop --help`, and `abaw sheet` for a picture of who is in a video).
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
    abaw crop "@$OUT/to_crop.list" -o "$OUT/crops" --strategy "$OUT/strategy.csv"
fi

# --- Features of faces and sound, a row a frame. The sound, and the times of official crops, come
# from the videos. A row without a face is there too and rests on the sound.
say "extract"
abaw extract "$OUT/crops" -o "$OUT/features" --audio-from "$OUT/videos"

# --- Training. The validation set chooses the best epoch. Files are matched by name; that features
# of other sets are left out is said, and right. Annotations a row or two longer or shorter than
# their video are taken, and so are the older ones of seven classes.
say "train"
abaw train head "$OUT/features" --labels "$LABELS/Train_Set" \
    --valid-features "$OUT/features" --valid-labels "$LABELS/Validation_Set" \
    -o "$OUT/run" --epochs "$EPOCHS"

list_features() { sed "s|.*|$OUT/features/&.safetensors|" "$OUT/$1.names" > "$OUT/$1.list"; }

# --- How good is it? The score of the validation set, as the challenge counts it, and which
# smoothing is best there. What that will gain elsewhere is the line `cross-validated`: if it is
# not above `as predicted`, better submit OUT/test as it is.
say "validate"
list_features valid
abaw predict "@$OUT/valid.list" -o "$OUT/valid" --recipe "$OUT/run/head.safetensors" --no-smooth
abaw score "$OUT/valid" "$LABELS/Validation_Set"
abaw score "$OUT/valid" "$LABELS/Validation_Set" --sweep -o "$OUT/sweep.json"

# --- The test set, smoothed as the sweep found best (not at all, if that was best).
say "predict"
list_features test
abaw predict "@$OUT/test.list" -o "$OUT/test" --recipe "$OUT/run/head.safetensors" --no-smooth
predictions="$OUT/test"
smoothing=$(sed -n 's/.*"command": "abaw smooth .*\(--smoothing .*\)".*/\1/p' "$OUT/sweep.json")
if [ -n "$smoothing" ]; then
    # shellcheck disable=SC2086  # several words: --method median --window 25 ...
    abaw smooth "$predictions" -o "$OUT/test-smoothed" $smoothing
    predictions="$OUT/test-smoothed"
fi

# --- The submission: every row of the sample, in its order. A row that the video has no frame for,
# or that stayed without a label, takes the nearest prediction. `abaw submit` refuses videos that
# have none at all (neither face nor voice) and names them: make an annotation <name>.txt of your
# own choice for each, and run this line by hand with these files in place of their tables.
say "submit"
abaw submit "$predictions" --template "$SAMPLE" -o "$OUT/predictions.txt"
abaw submit --check "$OUT/predictions.txt" --template "$SAMPLE"
