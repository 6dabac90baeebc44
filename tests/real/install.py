"""Makes a virtual environment with exactly the packages it is given, once: a marker file says which are in.

Several processes may ask at once; the kernel frees the lock of one that died. It takes nothing from outside but the
packages named, and it never changes an environment whose marker matches.

Usage: python3 install.py FOLDER MARKER_TEXT PIP_ARGUMENT...
"""

import fcntl
import subprocess
import sys
import venv
from pathlib import Path


def make(folder: Path, marker_text: str, pip_arguments: list[str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    marker = folder / "installed"
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.exists() and marker.read_text() == marker_text:
            return
        print(f"making {folder}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "install", "--no-input", "--progress-bar", "off", *pip_arguments],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        marker.write_text(marker_text)


if __name__ == "__main__":
    try:
        make(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip ended with code {error.returncode}")
