# Rolling sequences, worked out once more: from the description, and with nothing but SHA-256.
#
# python3 independent.py KEY_IN_BASE64 STEP...: a line for each step.

import base64
import hashlib
import sys


def hmac_sha256(key, message):
    """RFC 2104, for keys of at most 64 bytes."""
    key = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()


def hkdf_sha256(key, info, length):
    """RFC 5869, without a salt."""
    pseudorandom_key = hmac_sha256(bytes(32), key)
    output, block, number = b"", b"", 1
    while len(output) < length:
        block = hmac_sha256(pseudorandom_key, block + info + bytes([number]))
        output, number = output + block, number + 1
    return output[:length]


def sequence(key, step):
    stream = hkdf_sha256(key, b"toctoc rolling sequence v1" + step.to_bytes(8, "big"), 96)
    knocks = []
    for first, second, third in zip(stream[0::3], stream[1::3], stream[2::3]):
        knock = (256 * second + third, ["tcp", "udp"][first % 2])
        if knock[0] >= 1024 and knock not in knocks and len(knocks) < 4:
            knocks.append(knock)
    return ",".join("%d:%s" % knock for knock in knocks)


key = base64.b64decode(sys.argv[1], validate=True)
for step in sys.argv[2:]:
    print(sequence(key, int(step)))
