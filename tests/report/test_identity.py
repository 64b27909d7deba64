"""Which evaluation it is, and which commit made it: this package's own code, not a repository around it."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

from text4seg.config import Config
from text4seg.report import identity, stamp
from text4seg.report.settings import EvaluateSettings


def test_an_evaluation_is_another_one_with_other_code_only(tmp_path, monkeypatch) -> None:
    package = tmp_path / "text4seg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(identity.text4seg, "__file__", str(package / "__init__.py"))
    settings, index = EvaluateSettings(run=str(tmp_path)), SimpleNamespace(shards=[])

    def digest() -> str:
        return identity.digest(settings, Config(), "base", index)  # type: ignore[arg-type]

    before = digest()
    monkeypatch.setattr(stamp, "_commit", lambda: "another project's")
    assert digest() == before
    (package / "new.py").write_text("")
    assert digest() != before


def test_a_commit_around_the_package_is_not_its_own(tmp_path, monkeypatch) -> None:
    package = tmp_path / "lib" / "text4seg"
    package.mkdir(parents=True)
    (package / "stamp.py").write_text("")
    monkeypatch.setattr(stamp, "__file__", str(package / "stamp.py"))

    def git(*words: str) -> None:
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *named, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "theirs")
    assert stamp._commit() is None
    git("add", "lib")
    assert (stamp._commit() or "").endswith("+")
