"""The look through everything a test run leaves finds what it is for."""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s4s_lab.sandbox.authorization.issued import Kind, issue
from tests.canaries.scan import files_of, found, found_in_file
from tests.conftest import PROJECT

KINDS: tuple[Kind, ...] = ("access", "refresh", "secret")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client_id", ["a", "ab", "abc", "s4s-lab-demo"])
def test_a_credential_is_found_as_it_is_and_inside_basic(kind: Kind, client_id: str) -> None:
    credential = issue(kind)
    assert found(f"Bearer {credential}".encode()) == [kind]
    assert found(b"Basic " + base64.b64encode(f"{client_id}:{credential}".encode())) == [kind]
    assert found(pickle.dumps({"token": credential})) == [kind]
    assert found(f"s4s_sandbox_{client_id}".encode()) == []


def test_a_credential_is_found_in_compressed_files(tmp_path: Path) -> None:
    table = pa.table({"said": [issue("access"), "nothing"] * 2000})
    pq.write_table(table, tmp_path / "some.parquet", compression="zstd")
    with zipfile.ZipFile(tmp_path / "trace.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.txt", issue("refresh") * 2)
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 damaged on purpose PAR1")
    (tmp_path / "saved.ipynb").write_text(json.dumps({"metadata": {"widgets": {"value": issue("secret")}}}))
    assert {path.name: found_in_file(path) for path in files_of(tmp_path)} == {
        "some.parquet": ["access"],
        "trace.zip": ["refresh"],
        "damaged.parquet": [],
        "saved.ipynb": ["secret"],
    }
    for path in tmp_path.iterdir():
        path.unlink()  # or the run that this test is part of would find them


def test_only_where_grants_are_kept_nothing_is_looked_for(tmp_path: Path) -> None:
    for folder in ("grants", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.json").write_text("{}")
    assert [path.parent.name for path in files_of(tmp_path)] == ["elsewhere"]


def test_this_process_and_the_programs_it_starts_log_at_debug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert logging.getLogger().getEffectiveLevel() == logging.DEBUG
    monkeypatch.setenv("S4S_TEST_LOGS", str(tmp_path))
    program = "import logging; logging.getLogger('some.library').debug('said')"
    started = subprocess.Popen([sys.executable, "-c", program], env=os.environ)
    assert started.wait() == 0
    assert (tmp_path / f"{started.pid}.log").read_text() == "said\n"


@pytest.mark.parametrize(("what", "code"), [("'nothing'", 0), ("issue('access')", 1), ("issue('refresh').encode()", 1)])
def test_a_run_that_leaves_a_credential_anywhere_has_failed(tmp_path: Path, what: str, code: int) -> None:
    (tmp_path / "test_it.py").write_text(
        "import logging\n"
        "from s4s_lab.sandbox.authorization.issued import issue\n"
        "def test_it():\n"
        f"    logging.getLogger('some').debug('%s', {what})\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.canaries.plugin",
        f"--rootdir={tmp_path}",
        "-c/dev/null",
    ]
    with tempfile.TemporaryDirectory() as logs:  # which no later run looks through
        around = {name: value for name, value in os.environ.items() if name != "S4S_TEST_LOGS"} | {"TMPDIR": logs}
        ran = subprocess.run(
            [*command, str(tmp_path)], capture_output=True, text=True, check=False, cwd=PROJECT, env=around
        )
    assert (ran.returncode, f"\n{code} in " in ran.stdout) == (code, code == 0), ran.stdout
