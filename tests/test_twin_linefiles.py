"""Line protocol in files: growing, renamed, cut, finished without a line break, too big for one reading."""

from __future__ import annotations

import os

import pytest
from source_worlds import rest, told

from plant.errors import SourceUnavailable
from twin.telemetry import growing
from twin.telemetry.line_files import LineFiles

NOW_MS = 1_900_000_000_000


def line(host, at_ms):
    return f"m,host={host} f={at_ms} {at_ms}000000\n"


def hosts(read):
    return [(host, at_ms) for host, at_ms, _ in told(read)]


def test_a_growing_file_is_read_line_by_line_once(tmp_path):
    file = tmp_path / "a.lp"
    file.write_text(line("a", 1))
    source = LineFiles("x", file)
    assert hosts(source.poll(NOW_MS)) == [("a", 1)]
    assert hosts(source.poll(NOW_MS)) == []
    with file.open("a") as more:
        more.write(line("a", 2) + line("a", 3)[:-5])
        more.flush()
        os.utime(file, (NOW_MS / 1000, NOW_MS / 1000))
        assert hosts(source.poll(NOW_MS)) == [("a", 2)]  # the half line waits
        more.write(line("a", 3)[-5:])
        more.flush()
        assert hosts(source.poll(NOW_MS)) == [("a", 3)]


def test_a_finished_file_gives_its_last_line_without_a_line_break(tmp_path):
    file = tmp_path / "a.lp"
    file.write_text(line("a", 1) + line("a", 2).rstrip())
    rest(file, NOW_MS)
    source = LineFiles("x", file)
    found = hosts(source.poll(NOW_MS))
    assert sorted(found + hosts(source.poll(NOW_MS))) == [("a", 1), ("a", 2)]


def test_rotation_loses_nothing(tmp_path):
    file = tmp_path / "a.lp"
    file.write_text(line("a", 1))
    source = LineFiles("x", file)
    assert hosts(source.poll(NOW_MS)) == [("a", 1)]
    with file.open("a") as old:
        old.write(line("a", 2))
    file.rename(tmp_path / "a.lp.1")
    file.write_text(line("a", 3))
    found = hosts(source.poll(NOW_MS))
    assert sorted(found + hosts(source.poll(NOW_MS))) == [("a", 2), ("a", 3)]
    assert hosts(source.poll(NOW_MS)) == []


@pytest.mark.parametrize("shorter", [True, False])
def test_a_file_cut_or_written_anew_is_read_from_its_start_and_told(tmp_path, shorter):
    file = tmp_path / "a.lp"
    file.write_text(line("a", 1) * 3)
    source = LineFiles("x", file)
    source.poll(NOW_MS)
    with file.open("r+") as same:
        same.truncate(0)
        same.write(line("b", 2) if shorter else line("b", 2) * 9)
    read = source.poll(NOW_MS)
    assert set(hosts(read)) == {("b", 2)}
    assert [row.where for row in read.bad] == ["a.lp"]


def test_a_mark_goes_on_and_another_file_in_its_place_is_read_whole(tmp_path):
    file = tmp_path / "a.lp"
    file.write_text(line("a", 1))
    first = LineFiles("x", file)
    first.poll(NOW_MS)
    mark = first.mark()
    first.close()
    with file.open("a") as more:
        more.write(line("a", 2) + "bad\n")
    again = LineFiles("x", file)
    again.resume(mark)
    read = again.poll(NOW_MS)
    assert hosts(read) == [("a", 2)]
    assert [row.where for row in read.bad] == ["a.lp line 3"]
    with file.open("r+") as same:  # the same inode, another story
        same.truncate(0)
        same.write(line("c", 7) * 5)
    other = LineFiles("x", file)
    other.resume(mark)
    assert set(hosts(other.poll(NOW_MS))) == {("c", 7)}


def test_long_files_come_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "BLOCK_BYTES", 1000)
    (tmp_path / "a.lp").write_text("".join(line("a", n) for n in range(1000, 1200)))
    (tmp_path / "b.lp").write_text("".join(line("b", n) for n in range(1000, 1100)))
    source, found, polls = LineFiles("x", tmp_path), [], 0
    while True:
        read = source.poll(NOW_MS)
        found += hosts(read)
        polls += 1
        if not read.more:
            break
    assert polls > 3
    assert found == [("a", n) for n in range(1000, 1200)] + [("b", n) for n in range(1000, 1100)]


def test_a_line_longer_than_a_piece_costs_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "BLOCK_BYTES", 1000)
    (tmp_path / "a.lp").write_text("x" * 5000 + "\n" + line("a", 1))
    source, found, bad = LineFiles("x", tmp_path), [], []
    for _ in range(10):
        read = source.poll(NOW_MS)
        found += hosts(read)
        bad += read.bad
    assert found == [("a", 1)]
    assert bad


def test_only_files_that_fit_and_new_ones_are_seen(tmp_path):
    source = LineFiles("x", tmp_path, pattern="*.lp")
    assert hosts(source.poll(NOW_MS)) == []
    (tmp_path / "a.txt").write_text(line("no", 1))
    (tmp_path / "d.lp").mkdir()
    (tmp_path / "ü b.lp").write_text(line("yes", 1))
    assert hosts(source.poll(NOW_MS)) == [("yes", 1)]


def test_many_files_need_few_descriptors(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "KEPT_OPEN", 8)
    for n in range(300):
        (tmp_path / f"{n:04d}.lp").write_text(line(f"h{n}", 1))
        rest(tmp_path / f"{n:04d}.lp", NOW_MS)
    source, before = LineFiles("x", tmp_path), len(os.listdir("/proc/self/fd"))
    assert len(hosts(source.poll(NOW_MS))) == 300
    assert len(os.listdir("/proc/self/fd")) <= before + growing.KEPT_OPEN
    assert hosts(source.poll(NOW_MS)) == []
    with (tmp_path / "0207.lp").open("a") as grown:
        grown.write(line("late", 2))
    assert hosts(source.poll(NOW_MS)) == [("late", 2)]


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(SourceUnavailable, match="No such file"):
        LineFiles("x", tmp_path / "none").poll(NOW_MS)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceUnavailable, match="is no file"):
        LineFiles("x", tmp_path / "pipe").poll(NOW_MS)


def test_bytes_that_are_no_lines_are_told_and_end(tmp_path):
    (tmp_path / "a.lp").write_bytes(bytes(range(256)) * 200 + b"\n" + line("a", 1).encode())
    source = LineFiles("x", tmp_path)
    read = source.poll(NOW_MS)
    assert hosts(read) == [("a", 1)]
    assert len(read.bad) > 100
    source.close()
    source.close()
