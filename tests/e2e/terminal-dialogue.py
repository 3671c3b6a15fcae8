"""Runs a program on a pseudo terminal and talks to it: waits for a text, types an answer, in turns.

usage: terminal-dialogue.py '[["wait for", "type"], ...]' program argument...
Prints {"transcript", "code"} as JSON; ends with 1 when a text did not come in time.
"""

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time

TURN_SECONDS = 20
ROWS, COLUMNS = 33, 101


def main():
    turns = json.loads(sys.argv[1])
    pid, terminal = pty.fork()
    if pid == 0:
        # The size has to be there before the program looks.
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.execv(sys.argv[2], sys.argv[2:])
    transcript, seen = "", 0
    for expected, answer in turns:
        until = time.monotonic() + TURN_SECONDS
        while expected not in transcript[seen:]:
            part = read(terminal, until)
            if part is None:
                print(f"no {expected!r} in {transcript!r}", file=sys.stderr)
                os.kill(pid, 9)
                sys.exit(1)
            transcript += part
        seen = transcript.index(expected, seen) + len(expected)
        os.write(terminal, answer.encode())
    until = time.monotonic() + TURN_SECONDS
    while (part := read(terminal, until)) is not None:
        transcript += part
    _, status = os.waitpid(pid, 0)
    print(json.dumps({"transcript": transcript, "code": os.waitstatus_to_exitcode(status)}))


def read(terminal, until):
    """The next text, or None at the end or when the time is over."""
    ready, _, _ = select.select([terminal], [], [], max(0, until - time.monotonic()))
    if not ready:
        return None
    try:
        data = os.read(terminal, 65536)
    except OSError:
        return None
    return data.decode("utf8", "replace") or None


main()
