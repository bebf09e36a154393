"""Faults on purpose: what happens to a run that is killed, or whose files or disk change.

Kills each command with SIGKILL at random moments, repeats it, and compares all files with those of
an undisturbed run, byte for byte. A moment is an amount of CPU time, by which a run has come as far
on a busy machine as on an idle one. A run that ends before its moment is not counted. Then causes
the other faults, each while the second of three inputs is open, and checks the one reason that is
given, the exit status, and the outputs of the other inputs. Linux only.

Prints a table of the faults and what happened; exits with 1 if something is not as it must be.

    python benchmarks/faults.py [--kills 50] [--seed 0] [--only predict,crop,...|none]
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fault_runs import (
    COMMANDS,
    SHORT,
    Run,
    await_reading,
    await_state,
    count_cpu,
    find_half_written,
    finish,
    list_processes,
    prepare,
    read_files,
    start,
)

STOP_S = 2.0  # for a run to end after SIGINT or SIGTERM
Row = tuple[str, str, bool]  # fault, what happened, and whether that is right


# --- kills ---------------------------------------------------------------------------------


def run_whole(name: str, folder: Path) -> tuple[dict[str, bytes], float, float]:
    """Return the files of an undisturbed run, and its CPU seconds at its first file and its end."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    run, first, last = start(COMMANDS[name], folder), 0.0, 0.0
    while run.poll() is None:
        last = max(last, count_cpu(run.pid))
        first = first or (last if out.is_dir() and any(out.iterdir()) else 0.0)
        time.sleep(0.005)
    code, said = finish(run)
    assert code == 0, said
    return read_files(out), first, last


def kill_at_random(name: str, folder: Path, kills: int, draw: random.Random) -> Row:
    """Kill a command at random moments, repeat it each time, and compare the results."""
    out, counts = folder / "out", Counter[str]()
    whole, first, last = run_whole(name, folder)
    while counts["kills"] < kills and counts["ended before their moment"] < kills:
        shutil.rmtree(out, ignore_errors=True)
        run, moment = start(COMMANDS[name], folder), draw.uniform(first / 2, last)
        await_state(run, lambda run=run, at=moment: count_cpu(run.pid) >= at)  # type: ignore[misc]
        run.send_signal(signal.SIGKILL)
        finish(run)
        if run.returncode != -signal.SIGKILL:
            counts["ended before their moment"] += 1
            continue
        counts["kills"] += 1
        left = read_files(out) if out.is_dir() else {}
        done = sum(left.get(file) == data for file, data in whole.items())
        counts["nothing" if not done else "everything" if done == len(whole) else "a part"] += 1
        counts["half"] += bool(left and find_half_written(out, whole))
        code, _ = finish(start(COMMANDS[name], folder))
        counts["other"] += code != 0 or read_files(out) != whole
        counts["litter"] += any(".abaw-" in path.name for path in out.rglob("*"))
    what = (
        f"{counts['kills']} kills before the end, when nothing ({counts['nothing']}), a part "
        f"({counts['a part']}) or everything ({counts['everything']}) was written: "
        f"{counts['half']} left a half-written output; repeated, {counts['other']} differ from an "
        f"undisturbed run, {counts['litter']} have temporary files"
    )
    bad = counts["half"] or counts["other"] or counts["litter"] or counts["kills"] < kills
    return f"kill -9, {name}", what, not bad


# --- other faults --------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """Something that happens to a run while its second input is open, and what must follow."""

    name: str
    act: Callable[[Run], object]
    reason: str  # pattern of the message on each lost input, after its path; or of the last line
    code: int = 1
    command: str = "predict"
    lost: str = "b"  # inputs without an output in the end
    more: tuple[str, ...] = ()  # further options
    largest: int | None = None  # bytes of a file
    waits: bool = True  # with `act`, until the second input is open


def cause(fault: Fault, folder: Path, wholes: dict[str, dict[str, bytes]]) -> Row:
    """Cause a fault; check the status, the messages and the outputs of the other inputs."""
    out, second = folder / "out", folder / "in" / "b.mp4"
    if not out.is_mount():
        shutil.rmtree(out, ignore_errors=True)
    run = start((*COMMANDS[fault.command], *fault.more), folder, fault.largest)
    came = not fault.waits or await_reading(run, second)
    fault.act(run)
    begin = time.monotonic()
    status, said = finish(run)
    seconds = time.monotonic() - begin
    lines = [line.removeprefix("abaw: ") for line in said.splitlines() if line.startswith("abaw: ")]
    if stopped := status > 128:
        good = bool(re.fullmatch(fault.reason, lines[-1])) and seconds < STOP_S
        shown = lines[-1:]
    else:
        shown = [line for line in lines if line.startswith("error: ")]
        good = len(shown) == len(fault.lost) and all(
            re.fullmatch(f"error: {fault.reason.format(name)}", line)
            for name, line in zip(sorted(fault.lost), sorted(shown), strict=True)
        )
    kept = [name for name in "abc" if stopped or name not in fault.lost]
    whole = wholes[fault.command.split()[0]]
    left = read_files(out) if out.is_dir() else {}
    left = {name: data for name, data in left.items() if name[0] in "abc"}
    others = {name: data for name, data in whole.items() if name[0] in kept}
    right = not find_half_written(out, whole) and (stopped or left == others)
    litter = any(".abaw-" in path.name for path in out.rglob("*"))
    what = f"exit {status} after {seconds:.1f} s: {' / '.join(shown)}"
    what += "" if right else f"; OUTPUTS ARE {sorted(left)}"
    return fault.name, what, came and good and right and not litter and status == fault.code


def kill_worker(run: Run, number: int = signal.SIGKILL) -> None:
    """Send a signal to the process of --jobs that reads the second input."""
    for process in list_processes(run.pid)[1:]:
        for link in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                if os.path.realpath(link).endswith("in/b.mp4"):
                    os.kill(process, number)
                    return


def list_faults(folder: Path) -> Iterator[Fault]:
    """Yield each fault; afterwards the inputs are as before."""
    out, b = folder / "out", folder / "in" / "b.mp4"
    data = b.read_bytes()

    def grow() -> None:
        with b.open("ab") as file:
            file.write(b"\0" * 1000)

    def replace() -> None:
        new = b.with_name(".new")
        new.write_bytes(SHORT.read_bytes())
        new.replace(b)

    # It is opened more than once: by then, or at the end, it is missing.
    removed = "(no such file: in/{0}.mp4|in/{0}.mp4 was removed while it was read; .*)"
    changed = "in/{}.mp4 changed while it was read; run again when it is complete"
    for name, change, reason in (
        ("is deleted", b.unlink, removed),
        ("grows", grow, changed),
        ("is replaced", replace, changed),
    ):
        for command in ("predict", "crop", "extract"):
            yield Fault(f"{command}: an input {name}", lambda _, do=change: do(), reason,
                        command=command)  # fmt: skip
            b.write_bytes(data)
    yield Fault("the output folder is removed", lambda _: shutil.rmtree(out),
                "out/{}.csv was removed while the run went on.*", lost="a")  # fmt: skip
    yield from list_signals()


def list_signals() -> Iterator[Fault]:
    """Yield the faults of processes."""
    two = "predict --jobs 2"
    worked = "in/{}.mp4: the process that worked on it was ended by "
    for number, hint in (
        (signal.SIGKILL, "probably, memory ran out; use fewer --jobs"),
        (signal.SIGSEGV, "a library crashed on this input"),
    ):
        yield Fault(f"{two}: {number.name} to a process", lambda run, n=number: kill_worker(run, n),
                    f"{worked}{number.name}: {hint}", command=two)  # fmt: skip
    late = r"in/{}.mp4: it took longer than 0.3 s \(--timeout\)"
    yield Fault("--timeout 0.3", lambda _: None, late, lost="abc", more=("--timeout", "0.3"),
                waits=False)  # fmt: skip
    for number, what in ((signal.SIGINT, "interrupted"), (signal.SIGTERM, "stopped by SIGTERM")):
        for name in ("predict", two, "crop", "extract"):
            kept = r"\d of 3 inputs are done and kept" if name != two else ".*kept"
            said = f"{what}; {kept}, and the same command continues from there"
            yield Fault(f"{number.name}, {name}", lambda run, n=number: run.send_signal(n), said,
                        128 + number, name)  # fmt: skip


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Let the output folder be a disk of so many bytes; yield False where that is not allowed."""
    folder.mkdir(exist_ok=True)
    call = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    mounted = not subprocess.run(call, capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fill_disk(folder: Path, wholes: dict[str, dict[str, bytes]]) -> Row:
    """Extract features to a disk that has room for all but the longest video."""
    out, sizes = folder / "out", {n: len(d) for n, d in wholes["extract"].items()}
    shutil.rmtree(out, ignore_errors=True)
    largest = max(sizes.values())
    with small_disk(out, sum(sizes.values()) - largest // 2) as real:
        end = "No space left on device" if real else "File too large"
        name = "a full disk" if real else "a full disk (a limit of the size of files)"
        fault = Fault(name, lambda _: None, f"cannot write out/{{}}.safetensors: {end}",
                      command="extract", largest=None if real else largest // 2,
                      waits=False)  # fmt: skip
        return cause(fault, folder, wholes)


def run_twice(name: str, folder: Path, whole: dict[str, bytes]) -> Row:
    """Run a command twice at once on one output folder."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    codes = [finish(run)[0] for run in [start(COMMANDS[name], folder) for _ in range(2)]]
    same = read_files(out) == whole
    litter = any(".abaw-" in path.name for path in out.rglob("*"))
    what = f"exit {codes}; the files are {'' if same else 'not '}those of one run"
    return f"two runs of {name} on one folder", what, same and not litter and codes == [0, 0]


def cause_all(folder: Path) -> Iterator[Row]:
    """Cause each fault that is no kill."""
    wholes = {name: run_whole(name, folder)[0] for name in ("predict", "crop", "extract")}
    for fault in list_faults(folder):
        yield cause(fault, folder, wholes)
    yield fill_disk(folder, wholes)
    for name, whole in wholes.items():
        yield run_twice(name, folder, whole)


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
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        rows = (kill_at_random(name, folder, kills, draw) for name in names if name != "none")
        others = cause_all(folder) if given.only in (None, "none") else iter(())
        print("| fault | what happened | as it must be |\n|---|---|---|", flush=True)
        for group in (rows, others):
            for fault, what, good in group:
                wrong += not good
                print(f"| {fault} | {what} | {'yes' if good else 'NO'} |", flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
