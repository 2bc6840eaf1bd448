# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_aws.container_logs import MAX_EVENT_BYTES, AwsLogs, LineSplitter, LogDriverError, LogPump

OPTIONS = {"awslogs-group": "/ecs/no-such-group", "awslogs-region": "eu-west-2", "awslogs-stream-prefix": "p"}


class Collected:
    def __init__(self):
        self.lines, self.batches = [], 0

    def put(self, lines, at):
        self.lines += lines
        self.batches += 1


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_line_is_lost_or_empty_however_the_output_is_cut(chunks):
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()
    whole = b"".join(chunks).split(b"\n")
    assert lines == [line.rstrip(b"\r").decode("utf-8", "replace") for line in whole if line.rstrip(b"\r")]


def test_a_line_longer_than_an_event_is_cut():
    splitter = LineSplitter()
    lines = splitter.feed(b"x" * (2 * MAX_EVENT_BYTES + 1)) + splitter.finish()
    assert [len(line) for line in lines] == [MAX_EVENT_BYTES, MAX_EVENT_BYTES, 1]


def test_the_last_line_without_an_end_is_written():
    read_fd, write_fd = os.pipe()
    target = Collected()
    pump = LogPump(read_fd, target, "test")
    pump.start()
    os.write(write_fd, b"first\n\nsecond\r\nlast words")
    os.close(write_fd)
    pump.finish()
    assert target.lines == ["first", "second", "last words"]


def test_a_writer_that_outlives_the_container_is_not_waited_for():
    read_fd, write_fd = os.pipe()
    target = Collected()
    pump = LogPump(read_fd, target, "test")
    pump.start()
    try:
        os.write(write_fd, b"words\n")
        pump.finish(timeout=5)
        assert not pump.is_alive() and target.lines == ["words"]
    finally:
        os.close(write_fd)


def test_lines_are_written_in_batches():
    read_fd, write_fd = os.pipe()
    target = Collected()
    pump = LogPump(read_fd, target, "test")
    pump.start()
    writer = threading.Thread(target=os.write, args=(write_fd, b"line\n" * 1000))
    writer.start()
    writer.join()
    os.close(write_fd)
    pump.finish()
    assert len(target.lines) == 1000 and target.batches < 20


def test_a_missing_group_stops_the_task_with_the_words_of_aws():
    with pytest.raises(LogDriverError, match="ResourceInitializationError: failed to validate logger args: .*"
                                             "ResourceNotFoundException: The specified log group does not exist"):
        AwsLogs("123456789012", OPTIONS, "main", "id", role=None).open()
