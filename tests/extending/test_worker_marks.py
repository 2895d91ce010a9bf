"""A worker that an extension ends is started again without it, and the page says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.extending.strangers import SCRIPT, put
from webui.config import REPOSITORY
from webui.extending.installing.installer import Installer
from webui.extending.ledger import Ledger
from webui.extending.loader import Extension, Extensions
from webui.extending.startup import Homes, Started
from webui.extending.worker_marks import Marks, clear_marks, read_marks

WORKER = """
import sys
from pathlib import Path
from webui.extending.places import Place
from webui.extending.worker_marks import load_in_worker
places = [Place(path.name, path) for path in sorted(Path(sys.argv[1]).iterdir())]
print(*[api.name for api in load_in_worker(places, Path(sys.argv[2]))])
"""


def work(homes: Homes) -> str:
    """Load everything as a worker does; return what could be loaded, or how the process ended."""
    command = [sys.executable, "-c", WORKER, str(homes.user), str(homes.worker_marks)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    return answer.stdout.strip() or f"ended with {answer.returncode}"


def test_a_worker_comes_back_without_what_ended_it(tmp_path: Path) -> None:
    homes = Homes(tmp_path / "bundled", tmp_path / "extensions", tmp_path / "state")
    put(homes.user, "a")
    put(homes.user, "deadly", SCRIPT.format(name="deadly", imports="import os\nos._exit(7)"))
    put(homes.user, "raising", "raise ValueError('only here')")
    assert work(homes) == "ended with 7"
    assert read_marks(homes.worker_marks).loading == "deadly"
    assert work(homes) == "a"
    assert work(homes) == "a"
    extensions = Extensions(active=tuple(Extension(path.name, path, "") for path in homes.user.iterdir()))
    installer = Installer(Started(homes, Ledger(homes.ledger), extensions))
    problems = " ".join(installer.worker_problems())
    assert "deadly is left out: The worker process ended" in problems and "only here" in problems
    clear_marks(homes.worker_marks)
    assert installer.worker_problems() == ()


def test_a_worker_whose_extensions_are_good_leaves_no_marks(tmp_path: Path) -> None:
    homes = Homes(tmp_path / "bundled", tmp_path / "extensions", tmp_path / "state")
    put(homes.user, "a")
    assert work(homes) == "a"
    assert read_marks(homes.worker_marks) == Marks()
    homes.worker_marks.write_text("{")
    assert read_marks(homes.worker_marks) == Marks()
