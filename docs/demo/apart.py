"""What the measuring programs beside this share: namespaces of their own, and time."""

import os
import statistics
import subprocess
import sys
import time

QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def enter(*empty: str) -> None:
    """Starts the program again, once, with a network, mounts and processes of its own, and these directories empty."""
    if os.environ.get("MOAT_BENCH") != "inside":
        namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        words = [*namespaces, sys.executable, "-B", os.path.abspath(sys.argv[0]), *sys.argv[1:]]
        os.execvpe(words[0], words, {**os.environ, "MOAT_BENCH": "inside"})
    for directory in empty:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.environ["MOAT_DATA"] = "/run/moat-data"
    os.environ.pop("MOAT_ROOT", None)


def milliseconds(words: list[str], **where: str) -> float:
    """How long a command takes that must succeed."""
    begun = time.perf_counter()
    subprocess.run(words, check=True, **QUIET, **where)
    return (time.perf_counter() - begun) * 1000


def title(what: str) -> None:
    print(f"{what:<52}{'best':>9}{'median':>9}{'95%':>9}")


def report(what: str, times: list[float]) -> None:
    times = sorted(times)
    middle, high = statistics.median(times), times[int(len(times) * 0.95)]
    print(f"{what:<52}{times[0]:>9.1f}{middle:>9.1f}{high:>9.1f}", flush=True)
