"""The launcher on real processes: what it starts, what it survives, what it leaves behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from leoportal.lanes.durability import not_durable
from leoportal.lanes.matrix import read_matrix
from leoportal.stack import portal, pytest_plugin
from leoportal.stack.postgres import Postgres
from leoportal.stack.process import Command, Process, StackError, StopRequestedError, wait_until
from leoportal.stack.services import LOGINS, ROOT
from leoportal.stack.supervisor import Child, Supervisor

ROLES = read_matrix().roles
# A stand-in for the portal: real services, a child with a grandchild, the stop in order.
LAUNCHER = """
import sys
from leoportal.stack import services
from leoportal.stack.commands import Interrupt
from leoportal.stack.process import Command, StopRequestedError
from leoportal.stack.supervisor import Child, Supervisor
interrupt, var = Interrupt(), services.data_folder()
with services.hold(var):
    supervisor = Supervisor(print, interrupt)
    try:
        environment = services.start(supervisor, var)
        argv = ("sh", "-c", "sleep 600 & wait")
        supervisor.start(Child(Command("app", argv, var / "log" / "app.log", var)))
        print("ready", *(service.process.pid for service in supervisor.services), flush=True)
        supervisor.wait(lambda: False, seconds=float("inf"))
    except StopRequestedError:
        pass
    finally:
        supervisor.stop()
"""


@pytest.fixture(scope="module")
def place():
    """A short path in memory: a Unix socket's path is limited."""
    folder = Path(tempfile.mkdtemp(prefix="lp-", dir=pytest_plugin.find_parent_folder()))
    yield folder
    for process in processes_of(folder):
        process.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster(place):
    """One initialised cluster for the module; each test starts and stops it itself."""
    postgres = Postgres(place / "var" / "pg")
    postgres.start()
    postgres.stop()
    (place / "var" / ".leoportal").touch()
    return postgres


def processes_of(folder):
    """Everything alive whose command line, folder or environment names `folder`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            known = [*process.cmdline(), process.cwd(), process.environ().get("LEOPORTAL_VAR", "")]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in text for text in known):
                found.append(process)
    return found


def environment_of(var):
    """Ours, but without the services of this test run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE", "REDIS", "CACHE"))}
    return kept | {"LEOPORTAL_VAR": str(var), "PYTHONPATH": str(ROOT)}


def stack(var, *arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "leoportal.stack", *arguments],
        check=False,
        env=environment_of(var) | more,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def launcher(cluster, place):
    """A running stand-in and the process ids it told."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], env=environment_of(place / "var"), cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready"), line
    yield process, [int(word) for word in line.split()[1:]]
    process.kill()
    process.wait()
    process.stdout.close()
    assert wait_until(lambda: not processes_of(place), seconds=15), processes_of(place)


def child(folder, name, script):
    return Child(Command(name, ("sh", "-c", script), folder / f"{name}.log", folder))


def test_nobody_but_the_launcher_is_superuser_and_each_login_may_do_what_its_name_says(cluster):
    cluster.start()
    try:
        with psycopg.connect(cluster.url(ROLES["migrate"].name)) as owner:
            rows = owner.execute(
                "SELECT rolname, rolsuper, rolcreatedb, rolbypassrls, rolcreaterole FROM pg_roles"
            ).fetchall()
            owner.execute("CREATE TABLE owned (n int)")
            version, locale = owner.execute(
                "SELECT current_setting('server_version_num')::int, datlocprovider FROM pg_database"
                " WHERE datname = current_database()"
            ).fetchone() or (0, "")
        powers = {name: rights for name, *rights in rows if name.startswith("leo")}
        assert powers == {role.name: [False, False, False, False] for role in ROLES.values()}
        assert version >= 150000
        assert locale == ("b" if version >= 170000 else "c")
        for role in (role.name for key, role in ROLES.items() if role.is_login and key != "migrate"):
            with psycopg.connect(cluster.url(role)) as runtime, pytest.raises(psycopg.errors.InsufficientPrivilege):
                runtime.execute("SELECT * FROM owned")
            with psycopg.connect(cluster.url(role)) as runtime, pytest.raises(psycopg.errors.InsufficientPrivilege):
                runtime.execute("CREATE TABLE mine (n int)")
    finally:
        cluster.stop()


def test_the_server_listens_on_a_socket_in_a_closed_folder_only(cluster):
    cluster.start()
    try:
        assert cluster.sockets.stat().st_mode & 0o077 == 0
        assert cluster.data.stat().st_mode & 0o077 == 0
        assert psutil.Process(cluster.process.pid).net_connections(kind="inet") == []
    finally:
        cluster.stop()


@pytest.mark.kill
def test_every_acknowledged_row_outlives_a_killed_server(cluster):
    cluster.start()
    acknowledged = 0
    with psycopg.connect(cluster.url(ROLES["migrate"].name), autocommit=True) as owner:
        owner.execute("CREATE TABLE acknowledged (n int)")
        for n in range(200):
            owner.execute("INSERT INTO acknowledged VALUES (%s)", [n])
            acknowledged += 1
        os.kill(cluster.process.pid, signal.SIGKILL)
        assert wait_until(lambda: not cluster.is_running, seconds=5)
    cluster.start()
    try:
        with psycopg.connect(cluster.url(ROLES["migrate"].name)) as owner:
            assert owner.execute("SELECT count(*) FROM acknowledged").fetchone() == (acknowledged,)
    finally:
        cluster.stop()


def test_the_cluster_of_make_demo_keeps_what_it_acknowledged(cluster):
    cluster.start()
    try:
        with psycopg.connect(cluster.url(ROLES["migrate"].name)) as owner:
            assert not_durable(owner) == []
    finally:
        cluster.stop()


def test_data_of_another_major_version_is_refused_and_untouched(cluster):
    mark = cluster.data / "PG_VERSION"
    ours = mark.read_text()
    mark.write_text("12\n")
    try:
        with pytest.raises(StackError) as refused:
            cluster.start()
        assert refused.value.code == "postgres.other_version"
        assert "PostgreSQL 12" in refused.value.detail
        assert "make reset" in refused.value.detail
        assert mark.read_text() == "12\n"
        assert not cluster.is_running
    finally:
        mark.write_text(ours)


def test_an_initdb_that_was_cut_off_leaves_no_cluster_behind(place):
    postgres = Postgres(place / "cut")
    with pytest.raises(StopRequestedError):
        postgres.start(is_interrupted=(postgres.folder / "data.new" / "base").exists)
    assert not postgres.data.exists()
    assert processes_of(place / "cut") == []


def test_interrupt_stops_everything(launcher, place):
    process, told = launcher
    assert len(told) == 3
    assert len(processes_of(place)) > len(told)
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0
    assert processes_of(place) == []
    assert not (place / "var" / "running.json").exists()


@pytest.mark.kill
def test_everything_ends_when_the_supervisor_is_killed(launcher, place):
    process, told = launcher
    process.kill()
    process.wait()
    assert wait_until(lambda: not processes_of(place), seconds=10), processes_of(place)
    assert len(told) == 3


def test_a_second_start_on_the_same_folder_is_refused(launcher, place):
    process, _ = launcher
    second = stack(place / "var", "up")
    assert second.returncode == 1
    assert "stack.already_running" in second.stdout
    assert str(process.pid) in second.stdout
    assert "Traceback" not in second.stdout + second.stderr
    assert stack(place / "var", "reset").returncode == 1
    assert process.poll() is None


def test_run_gives_a_command_the_services_and_passes_its_exit_code_on(cluster, place):
    script = "import os, psycopg, sys; c = psycopg.connect(os.environ['DATABASE_URL']); print(c.info.user); sys.exit(7)"
    ended = stack(place / "var", "run", sys.executable, "-c", script)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "leoportal_operator\n", "")
    assert processes_of(place) == []


def test_nothing_is_started_that_the_environment_gives(place):
    given = {ROLES[key].variable: f"postgresql://{key}@elsewhere/db" for key in LOGINS}
    given["REDIS_URL"] = "redis://elsewhere"
    ended = stack(place / "given", "run", "printenv", "DATABASE_URL", "DATABASE_WEB_URL", "REDIS_URL", **given)
    assert ended.stdout.split() == [given["DATABASE_OPERATOR_URL"], given["DATABASE_WEB_URL"], given["REDIS_URL"]]
    assert not (place / "given" / "pg").exists()
    assert not (place / "given" / "valkey").exists()


def test_a_database_of_ones_own_needs_a_login_for_each_process(place):
    ended = stack(place / "given", "run", "true", DATABASE_WEB_URL="postgresql://web@elsewhere/db")
    assert ended.returncode == 1
    assert "DATABASE_MIGRATE_URL, DATABASE_OPERATOR_URL, DATABASE_ENFORCER_URL" in ended.stdout
    assert "stack.logins" in ended.stdout


@pytest.mark.threat("DB-01")
def test_no_process_is_told_the_login_of_another_lane_or_of_the_owner(place):
    environment = {ROLES[key].variable: f"postgresql://{ROLES[key].name}@/db" for key in LOGINS}
    found = portal.children({"DATABASE_URL": "postgresql://x@/db", **environment}, place, 8000)
    told = {
        name: {key: value for key, value in child.command.environment.items() if key.startswith("DATABASE")}
        for name, child in found.items()
    }
    assert told == {
        "web": {"DATABASE_URL": "postgresql://leoportal_web@/db"},
        "enforcer": {"DATABASE_URL": "postgresql://leo_enforcer@/db"},
        "verifier": {"DATABASE_URL": "postgresql://leo_verifier@/db"},
        "sequencer": {"DATABASE_URL": "postgresql://leo_log_sequencer@/db"},
        "signer": {"DATABASE_URL": "postgresql://leo_log_signer@/db"},
        "beat": {},
    }


def test_a_folder_with_other_files_is_never_taken_for_ours(place):
    foreign = place / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    ended = stack(foreign, "reset")
    assert ended.returncode == 1
    assert "stack.foreign_folder" in ended.stdout
    assert (foreign / "thesis.txt").read_text() == "years of work"


@pytest.mark.kill
def test_a_killed_child_is_started_again_and_its_last_lines_are_told(tmp_path):
    said: list[str] = []
    supervisor = Supervisor(said.append)
    worker = child(tmp_path, "worker", "echo an important line; sleep 600 & wait")
    supervisor.start(worker)
    try:
        assert wait_until(lambda: "important" in worker.command.log.read_text(), seconds=5)
        first = worker.process
        grandchildren = psutil.Process(first.pid).children()
        os.kill(first.pid, signal.SIGKILL)
        assert supervisor.wait(lambda: worker.process is not first and worker.is_running, seconds=5)
        assert any("signal 9" in line and "an important line" in line for line in said)
        assert not [left for left in grandchildren if left.is_running() and left.status() != psutil.STATUS_ZOMBIE]
    finally:
        supervisor.stop()
    assert not worker.is_running


def test_a_child_that_keeps_dying_ends_the_stack_with_its_last_lines(tmp_path):
    supervisor = Supervisor(lambda line: None, pause_seconds=0.01)
    steady, broken = child(tmp_path, "steady", "sleep 600"), child(tmp_path, "broken", "echo no such table; exit 3")
    supervisor.start(steady)
    supervisor.start(broken)
    try:
        with pytest.raises(StackError) as gave_up:
            supervisor.wait(lambda: False, seconds=20)
        assert gave_up.value.code == "supervisor.gave_up"
        assert "exit code 3" in gave_up.value.detail
        assert "no such table" in gave_up.value.detail
    finally:
        supervisor.stop()
    assert not steady.is_running


def test_the_stop_is_in_the_opposite_order_of_the_start(tmp_path):
    supervisor = Supervisor(lambda line: None)
    script = "trap 'sleep 0.2; date +%s%N > {0}.end; exit' TERM; touch {0}.up; while :; do sleep 0.05; done"
    names = ("database", "broker", "web")
    for name in names:
        supervisor.start(child(tmp_path, name, script.format(name)))
    assert wait_until(lambda: all((tmp_path / f"{name}.up").exists() for name in names), seconds=5)
    supervisor.stop()
    ends = [int((tmp_path / f"{name}.end").read_text()) for name in names]
    assert ends == sorted(ends, reverse=True)


def test_a_child_deaf_to_the_stop_is_killed_with_its_group_and_named(tmp_path):
    said: list[str] = []
    supervisor = Supervisor(said.append)
    argv = ("sh", "-c", "trap '' TERM; touch deaf; sleep 600 & while :; do sleep 0.05; done")
    command = Command("deaf", argv, tmp_path / "deaf.log", tmp_path, stops=((signal.SIGTERM, 0.3),))
    supervisor.start(Child(command))
    assert wait_until((tmp_path / "deaf").exists, seconds=5)
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < 5
    assert said == ["deaf did not stop when asked and was killed"]
    assert wait_until(lambda: not processes_of(tmp_path), seconds=5)


def test_a_log_tells_only_the_lines_of_this_run(tmp_path):
    log = tmp_path / "app.log"
    for word in ("first", "second"):
        process = Process(Command("app", ("echo", word), log, tmp_path))
        process.popen.wait(5)
        assert process.last_lines().split() == [word]
        process.stop()
    assert log.read_text().split() == ["first", "second"]


def test_the_launcher_does_not_load_django():
    script = "import sys, leoportal.stack.__main__, leoportal.stack.pytest_plugin; sys.exit('django' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment_of("/nowhere"), check=True)
