"""Frames, however they are cut on their way."""

from __future__ import annotations

import pytest

from smtpeter.features.frames import LONGEST, BadFrame, FrameReader, frame

PAYLOADS = [b"one", b"", b"\x00\x00\x00\x01", b"x" * 300, b"last"]
STREAM = b"".join(map(frame, PAYLOADS))


def test_a_frame_is_its_length_and_its_payload():
    assert frame(b"abc") == b"\x00\x00\x00\x03abc"


@pytest.mark.parametrize("place", range(len(STREAM) + 1))
def test_frames_are_read_wherever_they_are_cut(place):
    reader = FrameReader()
    assert reader.feed(STREAM[:place]) + reader.feed(STREAM[place:]) == PAYLOADS


def test_frames_are_read_octet_by_octet():
    reader = FrameReader()
    assert [payload for octet in STREAM for payload in reader.feed(bytes([octet]))] == PAYLOADS


def test_nothing_is_given_before_it_is_complete():
    reader = FrameReader()
    assert reader.feed(frame(b"abc")[:-1]) == []
    assert reader.feed(b"c") == [b"abc"]


def test_the_longest_frame_passes():
    reader = FrameReader(10)
    assert reader.feed(b"\x00\x00\x00\x0a" + b"x" * 10) == [b"x" * 10]


@pytest.mark.parametrize("head", [b"\x00\x00\x00\x0b", b"\xff\xff\xff\xff"])
def test_a_frame_that_is_too_long_is_refused_before_it_comes(head):
    with pytest.raises(BadFrame, match="announced"):
        FrameReader(10).feed(head)


def test_a_payload_that_nobody_would_read_is_not_framed():
    with pytest.raises(BadFrame, match="too long"):
        frame(bytes(LONGEST + 1))
