"""Heatshrink: bytes out of a packed stream, piece by piece, in constant memory.

The stream is a row of bits, the highest of each byte first. A 1 is followed by the 8 bits of a byte as
it is; a 0 by a reference back: `window_bits` say how far (less 1), `lookahead_bits` how many bytes (less
1). Before the first byte the window is full of zeros. Bits that are left over at the end fill up the
last byte and mean nothing; so a stream does not say where it ends. Knows nothing of what is packed.
"""

from __future__ import annotations

_BITS = 8


class HeatshrinkDecoder:
    """One stream. `window_bits` 9 to 15, `lookahead_bits` 3 to 7."""

    def __init__(self, window_bits: int, lookahead_bits: int) -> None:
        self._window = 1 << window_bits
        self._window_bits = window_bits
        self._lookahead_bits = lookahead_bits
        self._out = bytearray(self._window)
        """The window, and behind it what was decoded since."""
        self._rest = b""
        self._bit = 0
        """Where in the first byte of `_rest` the next token begins."""

    def feed(self, data: bytes) -> bytes:
        """What can be decoded now; at most 2 ** lookahead_bits bytes come out of 2 bytes."""
        self._bit = self._decode(self._rest + data, self._bit)
        decoded = bytes(self._out[self._window :])
        del self._out[: -self._window]
        return decoded

    def _decode(self, data: bytes, at: int) -> int:
        """Decode from bit `at` on, keep what may be half a token; the bit at which that begins."""
        octets, end = _octets(data), len(data) * _BITS
        out, append = self._out, self._out.append
        reference = 1 + self._window_bits + self._lookahead_bits
        distance_shift = 2 * _BITS - self._window_bits
        count_at, count_shift = 1 + self._window_bits, _BITS - self._lookahead_bits
        while True:
            while octets[at] > 127:
                append(octets[at + 1])
                at += 1 + _BITS
            if at + reference > end:
                break
            count = (octets[at + count_at] >> count_shift) + 1
            start = ~((octets[at + 1] << _BITS | octets[at + 1 + _BITS]) >> distance_shift)  # from the end
            if start + count < 0:
                out += out[start : start + count]
            else:  # the copy ends where it is written, or runs into it
                out += (out[start:] * (count // -start + 1))[:count]
            at += reference
        if at > end:  # the last byte was not whole
            out.pop()
            at -= 1 + _BITS
        self._rest = data[at // _BITS :]
        return at % _BITS


def _octets(data: bytes) -> bytearray:
    """The eight bits from each bit of `data` on, one byte for each, and zeros behind.

    So a token is read by index wherever it begins, without shifting a bit in Python.
    """
    count = len(data)
    end = count * _BITS
    number, mask = int.from_bytes(data, "big"), (1 << end) - 1
    octets = bytearray(end + 2 * _BITS)
    for bit in range(_BITS):
        octets[bit:end:_BITS] = ((number << bit) & mask).to_bytes(count, "big")
    return octets
