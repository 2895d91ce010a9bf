"""Times the first minute: `python3 launch.py` → first answer → first image, then image time and memory.

    python -m benchmarks.startup [--runs 3]

Starts the real launcher in this checkout with a fresh data folder each time. Wall-clock seconds, resident MB.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from tests.serving import POCKET, ROOT, free_port

PICTURE = {"prompt": "a red house under a yellow moon, night sky", "width": 128, "height": 128, "steps": 20}
PICTURE |= {"cfg_scale": 5, "seed": 1, "sampler_name": "DPM++ 2M", "scheduler": "karras"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = [measure() for _ in range(parser.parse_args().runs)]
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"{name:32} min {min(values):8.2f}  median {statistics.median(values):8.2f}  max {max(values):8.2f}")


def measure() -> dict[str, float]:
    """Return the figures of one start."""
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "launch.py", "--port", str(port), "--data-dir", folder]
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, "--ckpt-dir", str(POCKET.parent)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            return use(site, process, began)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def use(site: str, process: subprocess.Popen[bytes], began: float) -> dict[str, float]:
    """Wait for the page, make pictures, and weigh the processes."""
    with httpx.Client(base_url=site, timeout=300) as client:
        while not answers(client):
            if process.poll() is not None:
                raise SystemExit("Easel ended before it answered; see what `python3 launch.py` prints.")
            time.sleep(0.02)
        figures = {"first HTTP 200 of the page (s)": time.monotonic() - began}
        client.post("/sdapi/v1/txt2img", json=PICTURE).raise_for_status()
        figures["first image (s)"] = time.monotonic() - began
        times = []
        for _ in range(5):
            start = time.monotonic()
            client.post("/sdapi/v1/txt2img", json=PICTURE).raise_for_status()
            times.append(time.monotonic() - start)
        figures["one image of 128x128, 20 steps (s)"] = statistics.median(times)
    server = psutil.Process(process.pid)
    figures["server (MB)"] = peak(server)
    figures["worker (MB)"] = max(peak(child) for child in server.children(recursive=True))
    return figures


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code == 200
    except httpx.TransportError:
        return False


def peak(process: psutil.Process) -> float:
    """Return the most memory the process ever had resident, in MB (Linux)."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    return 0.0


if __name__ == "__main__":
    main()
