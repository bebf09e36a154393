"""Faults on purpose: what happens to a run that is killed, or whose files or disk change.

Kills each command with SIGKILL at random moments, repeats it, and compares all files with those of
an undisturbed run, byte for byte. Then causes the other faults, one run each. Prints a table of the
faults and what happened; exits with 1 if something is not as it must be.

    python benchmarks/faults.py [--kills 50] [--seed 0] [--only predict,crop,...]
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_videos" / "rotated_phone.mp4"
START_S = 1.0  # of a command before its work: kills are later
LIMIT_S = 300.0  # of any run
CPU = ("--device", "cpu")
COMMANDS = {
    "predict": ("predict", "in", "-o", "out", *CPU),
    "predict --jobs 2": ("predict", "in", "-o", "out", "--jobs", "2", *CPU),
    "crop": ("crop", "in", "-o", "out", "--subject", "all"),
    "extract": ("extract", "in", "-o", "out", *CPU),
    "train face": ("train", "face", "--images", "images", "--manifest", "images.csv", "-o", "out",
                   "--epochs", "4", "--batch-size", "8", "--no-moe", *CPU),
    "train head": ("train", "head", "features", "--labels", "labels", "-o", "out", "--epochs", "40",
                   *CPU),
}  # fmt: skip
Act = Callable[[subprocess.Popen[str]], None]  # something that happens to a run
Row = tuple[str, str, bool]  # fault, what happened, and whether that is right
_LIMITS = (resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))


def start(arguments: Sequence[str], folder: Path, full: bool = False) -> subprocess.Popen[str]:
    """Start a command; with `full`, files cannot grow beyond 60 kB, as on a disk that is full."""
    return subprocess.Popen(
        [sys.executable, "-m", "abawcli", *arguments],
        cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        preexec_fn=(lambda: resource.setrlimit(*_LIMITS)) if full else None,
    )  # fmt: skip


def finish(run: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit status and the messages of a run, whose processes must all have ended."""
    _, stderr = run.communicate(timeout=LIMIT_S)  # until no process has the pipe
    return run.returncode, stderr


def read_files(folder: Path) -> dict[str, bytes]:
    """Return all files but the manifest, whose lines tell how often a run was repeated."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.jsonl"
    }


def find_half_written(folder: Path, whole: dict[str, bytes]) -> list[str]:
    """Return visible results that differ from those of a whole run; states of training do."""
    return [
        name
        for name, data in read_files(folder).items()
        if not any(part.startswith(".abaw-") for part in Path(name).parts)
        and name.endswith((".csv", ".jpg", ".parquet", ".safetensors"))
        and Path(name).name not in ("last.safetensors", "strategy.csv")
        and whole.get(name) != data
    ]


def prepare(folder: Path) -> None:
    """Make the inputs of all commands."""
    (folder / "in").mkdir()
    for name in "abc":
        shutil.copy(SAMPLE, folder / "in" / f"{name}.mp4")
    (folder / "images").mkdir()
    draw, rows = np.random.default_rng(0), ["file,label,split"]
    for k in range(64):
        rows.append(f"{k}.png,{('Anger', 'Happiness')[k % 2]},{'valid' if k % 4 == 3 else 'train'}")
        picture = draw.integers(0, 256, (48, 48, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / "images" / f"{k}.png")
    (folder / "images.csv").write_text("\n".join(rows) + "\n")
    code, said = finish(start(("extract", "in", "-o", "features", *CPU), folder))
    assert code == 0, said
    (folder / "labels").mkdir()
    header = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    for name in "abc":
        lines = "\n".join(str(4 * (k % 40 < 20)) for k in range(120))
        (folder / "labels" / f"{name}.txt").write_text(f"{header}\n{lines}\n")


def kill_at_random(name: str, folder: Path, kills: int, draw: random.Random) -> Row:
    """Kill a command at random moments, repeat it each time, and compare the results."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    begin = time.monotonic()
    code, said = finish(start(COMMANDS[name], folder))
    lasts, whole = time.monotonic() - begin, read_files(out)
    assert code == 0 and whole, said
    half = litter = other = ended = 0
    for _ in range(kills):
        shutil.rmtree(out)
        run = start(COMMANDS[name], folder)
        time.sleep(draw.uniform(min(START_S, lasts / 2), lasts))
        run.send_signal(signal.SIGKILL)
        finish(run)
        ended += run.returncode == 0
        half += bool(out.is_dir() and find_half_written(out, whole))
        code, _ = finish(start(COMMANDS[name], folder))
        other += code != 0 or read_files(out) != whole
        litter += any(".abaw-" in path.name for path in out.rglob("*"))
    what = f"{kills} kills ({ended} after the end): {half} left a half-written output; repeated, "
    what += f"{other} differ from an undisturbed run, {litter} have temporary files"
    return f"kill -9, {name}", what, not (half or litter or other)


def cause(
    fault: str,
    folder: Path,
    act: Act,
    expected: Sequence[str],
    code: int = 1,
    arguments: Sequence[str] = COMMANDS["predict"],
    full: bool = False,
) -> Row:
    """Cause a fault when a run has finished its first input; check its status and messages."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    run = start(arguments, folder, full)
    deadline = time.monotonic() + LIMIT_S
    while not list(out.glob("a.csv*")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    act(run)
    begin = time.monotonic()
    status, said = finish(run)
    seconds = time.monotonic() - begin
    lines = [line for line in said.splitlines() if line.startswith(("abaw: error", "abaw: inter"))]
    lines += [line for line in said.splitlines() if line.startswith(("abaw: stop", "abaw: 3 inp"))]
    temporary = [path for path in out.rglob(".abaw-*")] if out.exists() else []
    good = status == code and all(text in said for text in expected) and not temporary
    return fault, f"exit {status} after {seconds:.1f} s: {' | '.join(lines)}", good


def list_faults(folder: Path) -> Iterator[Row]:
    """Cause each fault once."""
    out, b = folder / "out", folder / "in" / "b.mp4"
    data, other = b.read_bytes(), SAMPLE.with_name("expressions.mp4").read_bytes()

    def while_read(act: Callable[[], object]) -> Act:
        def wait(run: subprocess.Popen[str]) -> None:  # until the second input is being read
            time.sleep(0.2)
            act()

        return wait

    def grow() -> None:
        with b.open("ab") as file:
            file.write(b"\0" * 1000)

    def replace() -> None:
        new = b.with_name(".new")
        new.write_bytes(other)
        new.replace(b)

    def send(number: int) -> Act:
        return lambda run: run.send_signal(number)

    def kill_worker(run: subprocess.Popen[str]) -> None:
        time.sleep(0.2)
        for child in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)
                return

    one = "1 failed"
    for fault, change, said in (
        ("is deleted", b.unlink, "in/b.mp4"),
        ("grows", grow, "changed while it was read"),
        ("is replaced", replace, "changed while it was read"),
    ):
        yield cause(f"an input {fault}", folder, while_read(change), [one, said])
        b.write_bytes(data)
    yield cause("the output folder is removed", folder, lambda _: shutil.rmtree(out), [], 0)
    yield cause("a full disk", folder, lambda _: None, ["File too large"], 1,
                ("extract", "in", "-o", "out", *CPU), True)  # fmt: skip
    two = COMMANDS["predict --jobs 2"]
    yield cause("a process of --jobs is killed", folder, kill_worker, ["SIGKILL", one], 1, two)
    limit = (*COMMANDS["predict"], "--timeout", "0.05")
    yield cause(
        "--timeout 0.05", folder, lambda _: None, ["3 failed", "took longer than"], 1, limit
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        for name in ("predict", "predict --jobs 2"):
            said = ["same command continues from there"]
            yield cause(f"{number.name}, {name}", folder, send(number), said, 128 + number,
                        COMMANDS[name])  # fmt: skip
    yield run_twice(folder)


def run_twice(folder: Path) -> Row:
    """Run a command twice at once on one output folder."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    assert finish(start(COMMANDS["predict"], folder))[0] == 0
    whole = read_files(out)
    shutil.rmtree(out)
    codes = [finish(run)[0] for run in [start(COMMANDS["predict"], folder) for _ in range(2)]]
    same = read_files(out) == whole
    what = f"exit {codes}; the files are {'' if same else 'not '}those of one run"
    return "two runs on one folder", what, same and codes == [0, 0]


@contextmanager
def make_study() -> Iterator[Path]:
    """Yield a folder with the inputs of all commands."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        yield Path(folder)


def main() -> None:
    """Cause all faults and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="commands to kill, separated by commas; none: the others")
    given = parser.parse_args()
    draw, wrong = random.Random(given.seed), 0
    names = list(COMMANDS) if given.only is None else given.only.split(",")
    kills = -(-given.kills // len(names))
    with make_study() as folder:
        rows = (kill_at_random(name, folder, kills, draw) for name in names if name != "none")
        others = list_faults(folder) if given.only in (None, "none") else iter(())
        print("| fault | what happened | as it must be |\n|---|---|---|", flush=True)
        for group in (rows, others):
            for fault, what, good in group:
                wrong += not good
                print(f"| {fault} | {what} | {'yes' if good else 'NO'} |", flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
