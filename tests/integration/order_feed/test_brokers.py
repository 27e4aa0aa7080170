"""The broker specification on the embedded broker, and on Apache Kafka, which runs all of it."""

import secrets
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from broker_specification import SPECIFICATION, World, left_out, runnable, running, some_values
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from feed_settings import feed_settings

from torghut_runtime.errors import UpstreamError
from torghut_runtime.order_feed.ingestor import OrderFeedIngestor
from torghut_runtime.order_feed.launchers import kafka
from torghut_runtime.order_feed.launchers.kafka import KafkaLauncher, Secured
from torghut_runtime.order_feed.launchers.tansu import TansuLauncher
from torghut_runtime.order_feed.log import KafkaLog
from torghut_runtime.order_feed.report import Limits
from torghut_runtime.order_feed.session import ingest_engine


@pytest.fixture(scope="module")
def tansu(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[TansuLauncher, str]]:
    launcher = TansuLauncher(tmp_path_factory.mktemp("tansu"))
    with running(launcher) as servers:
        yield launcher, servers


@pytest.fixture(scope="module")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[KafkaLauncher, str]]:
    launcher = KafkaLauncher(tmp_path_factory.mktemp("kafka"))
    with running(launcher) as servers:
        yield launcher, servers


@pytest.mark.parametrize("specification", runnable(TansuLauncher.capabilities), ids=lambda each: each.__name__)
def test_embedded_broker(
    specification: Callable[[World], None], tansu: tuple[TansuLauncher, str], database_dsn: str
) -> None:
    specification(World(*tansu, database_dsn, f"t-{secrets.token_hex(4)}"))


@pytest.mark.full
@pytest.mark.parametrize("specification", runnable(KafkaLauncher.capabilities), ids=lambda each: each.__name__)
def test_apache_kafka(
    specification: Callable[[World], None], apache: tuple[KafkaLauncher, str], database_dsn: str
) -> None:
    specification(World(*apache, database_dsn, f"t-{secrets.token_hex(4)}"))


def test_what_a_broker_leaves_out_is_listed() -> None:
    assert left_out(KafkaLauncher.capabilities) == {}
    assert len(runnable(KafkaLauncher.capabilities)) == len(SPECIFICATION)
    assert left_out(TansuLauncher.capabilities) == {
        "a_partition_added_later_is_read_from_its_beginning": ["retention"],
        "latest_over_a_backlog_leaves_a_gap": ["exact_watermarks"],
        "records_that_were_deleted_leave_a_gap": ["retention"],
        "an_aborted_transaction_is_never_read": ["read_committed"],
        "a_restarted_broker_is_waited_for": ["durable"],
    }


def test_a_machine_without_java_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UpstreamError, match="needs Java 17 or newer: install a JRE"):
        kafka.java()


PASSWORD = "kept-out-of-every-log"


@pytest.mark.full
def test_scram_over_tls_connects_and_a_wrong_password_is_an_error_that_never_shows_it(
    tmp_path: Path, database_dsn: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    certificate, keystore = tls_files(tmp_path)
    launcher = KafkaLauncher(tmp_path / "kafka", Secured(keystore, "changeit", "feed", PASSWORD))
    with running(launcher) as servers:
        client = {"bootstrap.servers": launcher.open_servers, "log_level": 0}
        admin = AdminClient(client)
        for future in admin.create_topics([NewTopic("secured", 1, 1)]).values():
            future.result(30)
        values = some_values(6, 5)
        producer = Producer(client)
        for value in values:
            producer.produce("secured", value=value)
        assert producer.flush(30) == 0

        def consume(password: str, seconds: float) -> int:
            settings = feed_settings(
                given_dsn=database_dsn,
                order_feed_enabled=True,
                order_feed_bootstrap_servers=servers,
                order_feed_topic="secured",
                order_feed_auto_offset_reset="earliest",
                order_feed_security_protocol="SASL_SSL",
                order_feed_sasl_mechanism="SCRAM-SHA-512",
                order_feed_sasl_username="feed",
                order_feed_sasl_password=password,
                order_feed_ssl_ca_location=certificate,
            )
            assert PASSWORD not in repr(settings)
            made = OrderFeedIngestor(settings, ingest_engine(database_dsn), KafkaLog(settings, "test"), "test")
            try:
                return made.ingest(Limits(until_end=True, seconds=seconds)).messages
            finally:
                made.close()

        assert consume(PASSWORD + "-wrong", 4) == 0
        assert consume(PASSWORD, 90) == len(values)
    output = capfd.readouterr()
    assert PASSWORD not in caplog.text + output.out + output.err


def tls_files(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and the broker's keystore with it."""
    key, certificate, keystore = folder / "key.pem", folder / "ca.pem", folder / "keystore.p12"
    commands = [
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        ["openssl", "pkcs12", "-export", "-inkey", key, "-in", certificate, "-passout", "pass:changeit",
         "-out", keystore],
    ]  # fmt: skip
    for command in commands:
        subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return certificate, keystore
