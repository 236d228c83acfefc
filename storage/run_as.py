"""Starting a program under another user, and letting that user reach what it needs.

PostgreSQL refuses to run as root. Where Myelin runs as root, its own PostgreSQL runs as the user `myelin`, who is
made if missing, and who may need leave to pass through folders such as /root on the way to the data.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

USER_NAME = "myelin"

_ACL = "system.posix_acl_access"
_NO_ID = 0xFFFFFFFF
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_PASS_THROUGH = 1


@dataclass(frozen=True, slots=True)
class RunAs:
    """A user to run a program as."""

    name: str
    user_id: int
    group_id: int


def user_for(data: Path) -> RunAs | None:
    """Whom PostgreSQL must run as for this data folder; None for the user that we are."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        try:
            return _run_as(pwd.getpwuid(data.stat().st_uid))
        except KeyError:
            pass  # its user is gone from this machine (a restored copy): it is given to ours
    return _run_as(_our_user())


def _run_as(entry: pwd.struct_passwd) -> RunAs:
    return RunAs(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _our_user() -> pwd.struct_passwd:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(USER_NAME)
    adder = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if adder is not None:
        command = [adder, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", USER_NAME]
        # It also fails where another process made the user in this moment; whether he is there now is what counts.
        subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(USER_NAME)
    return pwd.getpwnam("nobody")


def give(path: Path, owner: RunAs) -> None:
    """Make this user the owner of a folder and of all that is in it, if he is not."""
    if path.stat().st_uid == owner.user_id:
        return
    for folder, _, files in os.walk(path):
        for file in files:
            os.chown(os.path.join(folder, file), owner.user_id, owner.group_id, follow_symlinks=False)
        os.chown(folder, owner.user_id, owner.group_id)


def open_the_way(path: Path, user: RunAs) -> list[Path]:
    """Let the user pass through the folders above this path; answers with those that had to be changed.

    Passing through is all that he is given: not to list the folder, not to read in it. An access-control entry for him
    alone is tried first, so that nobody else gains anything; where the file system has none, all may pass through.
    """
    if _reaches(path, user):
        return []
    changed = []
    for folder in reversed(path.parents):
        if not _reaches(folder, user):
            try:
                _let_pass(folder, user.user_id)
            except OSError:
                folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)
            changed.append(folder)
    return changed


def _reaches(path: Path, user: RunAs) -> bool:
    question = ["test", "-x", str(path)]
    return (
        subprocess.run(
            question, user=user.user_id, group=user.group_id, extra_groups=[], cwd="/", check=False
        ).returncode
        == 0
    )


def _let_pass(folder: Path, user_id: int) -> None:
    """Add "this user: execute" to the folder's access-control list (the kernel's format, version 2)."""
    mode = folder.stat().st_mode
    try:
        packed = os.getxattr(folder, _ACL)[4:]
        entries = [struct.unpack_from("<HHI", packed, place) for place in range(0, len(packed), 8)]
    except OSError:
        entries = [(_USER_OBJ, mode >> 6 & 7, _NO_ID), (_GROUP_OBJ, mode >> 3 & 7, _NO_ID), (_OTHER, mode & 7, _NO_ID)]
    kept = [entry for entry in entries if (entry[0], entry[2]) != (_USER, user_id) and entry[0] != _MASK]
    kept.append((_USER, _PASS_THROUGH, user_id))
    # The mask bounds all entries but the owner's and the others': it has to hold what any of them grants.
    granted = 0
    for tag, permissions, _ in kept:
        if tag in (_USER, _GROUP_OBJ, _GROUP):
            granted |= permissions
    old_mask = next((permissions for tag, permissions, _ in entries if tag == _MASK), granted)
    kept.append((_MASK, (old_mask | _PASS_THROUGH) & (granted | _PASS_THROUGH), _NO_ID))
    os.setxattr(folder, _ACL, struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(kept)))
