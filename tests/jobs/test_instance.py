from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from webui.errors import Busy, StorageError
from webui.jobs.instance import LOCK_NAME, lock_data_folder

ROOT = Path(__file__).resolve().parents[2]

OTHER = """
import sys, time
from pathlib import Path
from webui.jobs.instance import lock_data_folder
lock = lock_data_folder(Path(sys.argv[1]), "http://127.0.0.1:7861")
print("locked", flush=True)
time.sleep(600)
"""


def test_a_second_instance_is_told_where_the_first_one_is(tmp_path: Path) -> None:
    with lock_data_folder(tmp_path, "http://127.0.0.1:7860"):
        with pytest.raises(Busy) as caught:
            lock_data_folder(tmp_path, "http://127.0.0.1:7999")
        assert caught.value.message == (
            f"Easel already runs with this data folder at http://127.0.0.1:7860 (process {os.getpid()})."
        )
        assert "--data-dir" in caught.value.hint
    with lock_data_folder(tmp_path, "http://127.0.0.1:7999"):
        pass


def test_two_folders_do_not_disturb_each_other(tmp_path: Path) -> None:
    with lock_data_folder(tmp_path / "a", "http://a"), lock_data_folder(tmp_path / "b", "http://b"):
        pass


def test_releasing_twice_is_harmless(tmp_path: Path) -> None:
    lock = lock_data_folder(tmp_path, "http://a")
    lock.release()
    lock.release()


def test_a_killed_server_leaves_the_folder_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "locked\n"
        with pytest.raises(Busy, match=rf"http://127.0.0.1:7861 \(process {other.pid}\)"):
            lock_data_folder(tmp_path, "http://127.0.0.1:7860")
        other.kill()
    with lock_data_folder(tmp_path, "http://127.0.0.1:7860"):
        assert str(os.getpid()) in (tmp_path / LOCK_NAME).read_text()


def test_a_locked_file_without_a_name_is_still_refused(tmp_path: Path) -> None:
    with lock_data_folder(tmp_path, "http://a"):
        (tmp_path / LOCK_NAME).write_text("")
        with pytest.raises(Busy, match=r"already runs with this data folder\."):
            lock_data_folder(tmp_path, "http://b")


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be used"):
        lock_data_folder(tmp_path / "file" / "state", "http://a")
