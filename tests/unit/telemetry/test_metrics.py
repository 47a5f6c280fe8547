"""The shared memory of the counters: what each process writes is added up and shown as Prometheus reads it."""

from __future__ import annotations

import os

from app.telemetry.metrics import SLOT_BYTES, Metrics, line
from app.telemetry.observe import BUCKETS, _Counters

STORED = line("fileroom_stores_total", outcome="stored")


def value(metrics: Metrics, key: str) -> float | None:
    found = [text for text in metrics.render().splitlines() if text.startswith(key + " ")]
    return float(found[0].removeprefix(key)) if found else None


def in_child(act: object) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            act()  # type: ignore[operator]
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_processes_add_up() -> None:
    metrics = Metrics(3)

    def work(slot: int, count: int) -> None:
        metrics.use(slot)
        for _ in range(count):
            metrics.own.add(STORED)
        metrics.own.set("fileroom_http_connections", count)

    for slot, count in enumerate((3, 5, 7)):
        in_child(lambda slot=slot, count=count: work(slot, count))
    assert value(metrics, STORED) == 15
    assert value(metrics, "fileroom_http_connections") == 15


def test_counters_outlive_a_process_and_gauges_do_not() -> None:
    metrics = Metrics(2)

    def work() -> None:
        metrics.use(1)
        metrics.own.add(STORED, 4)
        metrics.own.set("fileroom_http_connections", 9)

    in_child(work)
    in_child(lambda: metrics.use(1))
    assert value(metrics, STORED) == 4
    assert value(metrics, "fileroom_http_connections") == 0
    in_child(work)
    assert value(metrics, STORED) == 8


def test_histogram_is_cumulative_and_complete() -> None:
    metrics = Metrics()
    counters = _Counters(metrics, "GET", "/studies")
    for seconds in (0.0005, 0.001, 0.004, 0.2, 99.0):
        counters.note(seconds, 200, 10, 1000)
    _Counters(metrics, "GET", "/other").note(0.0001, 404, 0, 7)
    lines = [text for text in metrics.render().splitlines() if 'route="/studies"' in text]
    counts = [float(text.rpartition(" ")[2]) for text in lines if "_bucket" in text]
    assert len(counts) == len(BUCKETS) + 1
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (2, 5)
    assert 'fileroom_http_request_seconds_count{method="GET",route="/studies"} 5' in lines
    assert 'fileroom_http_requests_total{method="GET",route="/studies",status="200"} 5' in lines
    assert value(metrics, "fileroom_http_received_bytes_total") == 50
    assert value(metrics, "fileroom_http_sent_bytes_total") == 5007


def test_a_full_slot_drops_new_lines_and_keeps_the_old() -> None:
    metrics = Metrics()
    metrics.own.add(STORED)
    for number in range(SLOT_BYTES // 32):
        metrics.own.add(line("fileroom_http_requests_total", method="GET", route=f"/{number}", status="200"))
    metrics.own.add(STORED)
    assert value(metrics, STORED) == 2
    assert "fileroom_http_requests_total" in metrics.render()


def test_large_counts_are_exact() -> None:
    metrics = Metrics()
    metrics.own.add("fileroom_http_sent_bytes_total", 2.0**52 + 1)
    assert f"fileroom_http_sent_bytes_total {2**52 + 1}" in metrics.render()
