"""What a worker is at can be read from the other side."""

from __future__ import annotations

import os

import pytest

from smtpeter.features.progress import Progress, make_page


@pytest.fixture
def sides():
    page = make_page()
    try:
        yield Progress(page), Progress(page)
    finally:
        os.close(page)


def test_at_first_there_is_nothing(sides):
    assert sides[1].read() == (0, "")


def test_what_was_told_last_is_read(sides):
    worker, server = sides
    worker.tell(3, "inlinecss")
    assert server.read() == (3, "inlinecss")
    worker.tell(4, "a")
    assert server.read() == (4, "a")
    worker.tell(4, "")
    assert server.read() == (4, "")


def test_a_name_is_cut_and_octets_of_none_are_read_all_the_same(sides):
    worker, server = sides
    worker.tell(1, "\u00e9" * 200)
    task, name = server.read()
    assert task == 1 and name.startswith("\u00e9" * 100)


def test_the_memory_outlives_its_descriptor_and_the_other_side():
    page = make_page()
    worker, server = Progress(page), Progress(page)
    os.close(page)
    worker.tell(5, "x")
    worker.close()
    assert server.read() == (5, "x")
