"""Disks for tests that are full or may not be written: real ones, where this process may make them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mount_small(folder: Path, *, size: str = "1m", files: int = 1000) -> Generator[None]:
    """A disk of its own at a folder, with room for so many bytes and files. Skips where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount_or_skip("-t", "tmpfs", "-o", _name_room(size, files), "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", str(folder), check=True)


def make_room(folder: Path) -> None:
    """Let a small disk be a large one."""
    _run("mount", "-o", f"remount,{_name_room('64m', 10_000)}", str(folder), check=True)


@contextmanager
def read_only(folder: Path) -> Generator[None]:
    """A folder that may not be written meanwhile: by its permissions, which do not bind root, or by a mount of itself.

    Skips where this process is root and may not mount.
    """
    if os.geteuid() != 0:
        places = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for place in places:
            place.chmod(0o500)
        try:
            yield
        finally:
            for place in places:
                place.chmod(0o700)
        return
    _mount_or_skip("--bind", str(folder), str(folder))
    try:
        _run("mount", "-o", "remount,bind,ro", str(folder), check=True)
        yield
    finally:
        _run("umount", str(folder), check=True)


def _name_room(size: str, files: int) -> str:
    return f"size={size},nr_inodes={files}"


def _mount_or_skip(*words: str) -> None:
    try:
        done = _run("mount", *words, check=False)
    except FileNotFoundError:
        pytest.skip("needs the command mount: run on Linux or install it")
    if done.returncode:
        pytest.skip(f"needs the right to mount ({done.stderr.strip()}): run as root, outside of a container")


def _run(*words: str, check: bool) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=check, capture_output=True, text=True)
