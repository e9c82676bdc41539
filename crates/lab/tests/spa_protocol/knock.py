"""docs/spa-protocol.md written down a second time, from the document: makes knocks, opens and judges them.

python3 knock.py vectors FILE      works out every vector anew, and says what differs
python3 knock.py ssh-keygen FILE   lets ssh-keygen verify the signatures of the vectors, and sign one
python3 knock.py judge             reads servers, keys and knocks, writes what becomes of each
python3 knock.py make COUNT        reads a server, writes keys and knocks, and what should become of each
"""

import base64
import calendar
import hashlib
import hmac
import ipaddress
import json
import os
import random
import subprocess
import sys
import tempfile
import time

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils, x25519
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NAME = b"toctoc knock v1"
NAMESPACE = b"knock@toctoc"
WINDOW = 120 * 10**9
RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
POINT = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
ED, P256 = "ssh-ed25519", "ecdsa-sha2-nistp256"
SK_ED, SK_P256 = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"
TOUCHED, VERIFIED = 1, 4
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Refused(Exception):
    """The code of a refusal."""


# --- the gate ---------------------------------------------------------------------------------------------------------

def gate(rest, server):
    key = hashlib.blake2s(b"toctoc gate v1" + server).digest()
    return hashlib.blake2s(rest, key=key, digest_size=16).digest()


# --- HPKE, RFC 9180: base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305 ------------------------------

KEM, SUITE = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"


def extract(suite, salt, label, text):
    return hmac.digest(salt, b"HPKE-v1" + suite + label + text, "sha256")


def expand(suite, secret, label, info, length):
    assert length <= 32
    return hmac.digest(secret, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\1", "sha256")[:length]


def key_schedule(dh, encapsulated, server):
    shared = expand(KEM, extract(KEM, b"", b"eae_prk", dh), b"shared_secret", encapsulated + server, 32)
    context = b"\0" + extract(SUITE, b"", b"psk_id_hash", b"") + extract(SUITE, b"", b"info_hash", NAME)
    secret = extract(SUITE, shared, b"secret", b"")
    return {
        "dh": dh,
        "shared_secret": shared,
        "key_schedule_context": context,
        "secret": secret,
        "key": expand(SUITE, secret, b"key", context, 32),
        "base_nonce": expand(SUITE, secret, b"base_nonce", context, 12),
    }


def encapsulate(seed, server):
    private = expand(KEM, extract(KEM, b"", b"dkp_prk", seed), b"sk", b"", 32)
    key = x25519.X25519PrivateKey.from_private_bytes(private)
    encapsulated = key.public_key().public_bytes(*RAW)
    dh = key.exchange(x25519.X25519PublicKey.from_public_bytes(server))
    steps = {"random": seed, "ephemeral_private": private, "encapsulated": encapsulated}
    return steps | key_schedule(dh, encapsulated, server)


def seal(steps, content, server):
    sealed = ChaCha20Poly1305(steps["key"]).encrypt(steps["base_nonce"], content, b"")
    return regated(steps["encapsulated"] + sealed, server)


def regated(rest, server):
    return gate(rest, server) + rest


def unseal(datagram, private):
    key = x25519.X25519PrivateKey.from_private_bytes(private)
    server = key.public_key().public_bytes(*RAW)
    encapsulated, sealed = datagram[16:48], datagram[48:]
    try:
        dh = key.exchange(x25519.X25519PublicKey.from_public_bytes(encapsulated))
        steps = key_schedule(dh, encapsulated, server)
        return ChaCha20Poly1305(steps["key"]).decrypt(steps["base_nonce"], sealed, b"")
    except (InvalidTag, ValueError):
        raise Refused("unsealed") from None


# --- SSH --------------------------------------------------------------------------------------------------------------

def string(data):
    return len(data).to_bytes(4, "big") + data


def strings(data):
    """All strings that data is made of."""
    found = []
    while data:
        length = int.from_bytes(data[:4], "big")
        if len(data) < 4 + length:
            raise ValueError("cut")
        found.append(data[4:4 + length])
        data = data[4 + length:]
    return found


def mpint(number):
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def fingerprint(blob):
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def to_sign(server, encapsulated, request):
    message = NAME + server + encapsulated + request
    return b"SSHSIG" + b"".join(
        map(string, (NAMESPACE, b"", b"sha512", hashlib.sha512(message).digest()))
    )


def verify(blob, text, signature):
    """Whether the key of this blob has made this signature, and a token's flags."""
    algorithm, *fields = strings(blob)
    length = int.from_bytes(signature[:4], "big")
    if signature[4:4 + length] != algorithm:
        raise ValueError("another algorithm")
    rest = signature[4 + length:]
    flags = TOUCHED | VERIFIED
    if algorithm.decode() in (SK_ED, SK_P256):
        if len(rest) < 5:
            raise ValueError("cut")
        rest, said = rest[:-5], rest[-5:]
        flags = said[0]
        text = hashlib.sha256(fields[-1]).digest() + said + hashlib.sha256(text).digest()
    (inner,) = strings(rest)
    if algorithm.decode() in (ED, SK_ED):
        ed25519.Ed25519PublicKey.from_public_bytes(fields[0]).verify(inner, text)
        return flags
    r, s = (int.from_bytes(part, "big", signed=True) for part in strings(inner))
    if inner != mpint(r) + mpint(s) or not (0 < r < ORDER and 0 < s < ORDER):
        raise ValueError("not as SSH writes it")
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), fields[1])
    point.verify(utils.encode_dss_signature(r, s), text, ec.ECDSA(hashes.SHA256()))
    return flags


class User:
    """A key that signs; of a token what is in it."""

    def __init__(self, kind, private, name):
        self.kind, self.name, self.flags = kind, name, TOUCHED | VERIFIED
        if kind in (ED, SK_ED):
            self.key = ed25519.Ed25519PrivateKey.from_private_bytes(private)
            fields = [self.key.public_key().public_bytes(*RAW)]
        else:
            self.key = ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1())
            fields = [b"nistp256", self.key.public_key().public_bytes(*POINT)]
        fields += [b"ssh:"] if kind in (SK_ED, SK_P256) else []
        self.blob = b"".join(map(string, [kind.encode(), *fields]))
        self.line = f"{kind} {base64.b64encode(self.blob).decode()} {name}"

    def sign(self, text, other_s=False):
        said = b""
        if self.kind in (SK_ED, SK_P256):
            said = bytes([self.flags]) + os.urandom(4)
            text = hashlib.sha256(b"ssh:").digest() + said + hashlib.sha256(text).digest()
        if self.kind in (ED, SK_ED):
            inner = self.key.sign(text)
        else:
            r, s = utils.decode_dss_signature(self.key.sign(text, ec.ECDSA(hashes.SHA256())))
            inner = mpint(r) + mpint(ORDER - s if other_s else s)
        return string(self.kind.encode()) + string(inner) + said


# --- authorized_keys --------------------------------------------------------------------------------------------------

def split_options(line):
    """The options before a key, each with its value or None, and the words behind them."""
    if line.split()[0] in (ED, P256, SK_ED, SK_P256):
        return {}, line.split()
    options, name, value, quoted, at = {}, "", None, False, 0
    while True:
        c = line[at]
        if quoted and line[at:at + 2] == '\\"':
            value += '"'
            at += 1
        elif c == '"':
            quoted = not quoted
            value = value or ""
        elif quoted:
            value += c
        elif c in ", \t":
            options[name.rstrip("=").lower()] = value
            name, value = "", None
            if c != ",":
                return options, line[at:].split()
        else:
            name += c
        at += 1


def seconds(text):
    total, number = 0, ""
    for c in text:
        if c.isdigit():
            number += c
        else:
            total += int(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[c]
            number = ""
    return total + int(number or 0)


class Entry:
    def __init__(self, line):
        options, (_, blob, name) = split_options(line)
        self.blob, self.name = base64.b64decode(blob), name
        self.doors = options["doors"].split(",") if "doors" in options else None
        self.until = None
        if "expiry-time" in options:
            text = options["expiry-time"]
            assert text.endswith("Z")
            form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}[len(text) - 1]
            self.until = calendar.timegm(time.strptime(text[:-1], form))
        self.sources = options.get("from", "").split(",") if "from" in options else []
        self.max_open = seconds(options["max-open"]) if "max-open" in options else None
        self.touch = "no-touch-required" not in options
        self.pin = "verify-required" in options

    def comes_from(self, address):
        def within(network):
            network = ipaddress.ip_network(network)
            return address.version == network.version and address in network

        allowed = any(within(source) for source in self.sources if not source.startswith("!"))
        denied = any(within(source[1:]) for source in self.sources if source.startswith("!"))
        return not self.sources or allowed and not denied


# --- requests ---------------------------------------------------------------------------------------------------------

def write_request(made, lasts, address, door, key):
    field = bytes(17)
    if address is not None:
        address = ipaddress.ip_address(address)
        field = bytes([address.version]) + address.packed.ljust(16, b"\0")
    name = door.encode()
    return (
        b"\1\0" + made.to_bytes(8, "big") + lasts.to_bytes(4, "big") + field
        + bytes([len(name)]) + name.ljust(32, b"\0") + key
    )


def write_content(request, signature):
    assert len(request) == 96 and len(signature) <= 158
    return (request + len(signature).to_bytes(2, "big") + signature).ljust(256, b"\0")


def is_host(address):
    if address.version == 4:
        return 1 <= address.packed[0] < 224
    mapped = address.packed[:12] in (bytes(12), bytes(10) + b"\xff\xff")
    return not address.is_multicast and (not mapped or address.is_loopback)


def read_content(content):
    if len(content) != 256:
        raise Refused("malformed")
    kind, field, length, name = content[14], content[15:31], content[31], content[32:64]
    size = int.from_bytes(content[96:98], "big")
    address = None
    if kind in (4, 6):
        used = {4: 4, 6: 16}[kind]
        address = ipaddress.ip_address(field[:used])
        field = field[used:]
    try:
        door = name[:length].decode()
    except UnicodeDecodeError:
        raise Refused("malformed") from None
    fits = (
        content[:2] == b"\1\0" and kind in (0, 4, 6) and not any(field) and (address is None or is_host(address))
        and 1 <= length <= 32 and not any(name[length:])
        and not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in door)
        and size <= 158 and not any(content[98 + size:])
    )
    if not fits:
        raise Refused("malformed")
    return {
        "time": int.from_bytes(content[2:10], "big"), "lasts": int.from_bytes(content[10:14], "big"),
        "address": address, "door": door, "key": content[64:96], "signature": content[98:98 + size],
    }


# --- the server -------------------------------------------------------------------------------------------------------

def judge(content, encapsulated, server, source, now, entries, doors):
    asked = read_content(content)
    if asked["door"] not in doors:
        raise Refused("no_such_door")
    door = doors[asked["door"]]
    entry = next((entry for entry in entries if hashlib.sha256(entry.blob).digest() == asked["key"]), None)
    if entry is None:
        raise Refused("unknown_key")
    if entry.until is not None and entry.until <= now // 10**9:
        raise Refused("expired")
    if abs(asked["time"] - now) > WINDOW:
        raise Refused("clock")
    try:
        flags = verify(entry.blob, to_sign(server, encapsulated, content[:96]), asked["signature"])
    except (ValueError, InvalidSignature, OverflowError):
        raise Refused("signature") from None
    if entry.touch and not flags & TOUCHED:
        raise Refused("untouched")
    if entry.pin and not flags & VERIFIED:
        raise Refused("unverified")
    if entry.doors is not None and asked["door"] not in entry.doors:
        raise Refused("not_for_door")
    if door["address"] == "match" and asked["address"] != source:
        raise Refused("address")
    address = asked["address"] or source
    if not entry.comes_from(source) or not entry.comes_from(address):
        raise Refused("not_from")
    most = door["open_for"] if entry.max_open is None else entry.max_open
    lasts = min(asked["lasts"] or door["open_for"], most)
    return {"door": asked["door"], "name": entry.name, "address": str(address), "time_open": lasts}


def outcome(datagram, private, source, now, entries, doors):
    server = x25519.X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(*RAW)
    if len(datagram) != 320:
        return {"dropped": "length"}
    try:
        if not hmac.compare_digest(gate(datagram[16:], server), datagram[:16]):
            raise Refused("unsealed")
        content = unseal(datagram, private)
        source = ipaddress.ip_address(source)
        return {"admitted": judge(content, datagram[16:48], server, source, now, entries, doors)}
    except Refused as refused:
        return {"refused": str(refused)}


def entries_of(text):
    return [Entry(line) for line in text.splitlines()]


def doors_of(doors):
    return {door["name"]: door for door in doors}


# --- what can be asked for --------------------------------------------------------------------------------------------

def plain(value):
    return value.hex() if isinstance(value, bytes) else value


def check_vectors(path):
    file = json.load(open(path, encoding="utf-8"))
    users = {user["name"]: user for user in file["users"]}
    servers = {server["text"]: bytes.fromhex(server["public"]) for server in file["servers"]}
    entries, doors = entries_of(file["authorized_keys"]), doors_of(file["doors"])
    wrong = []

    def same(what, found, expected):
        if plain(found) != plain(expected):
            wrong.append(f"{what}: {plain(found)} and not {plain(expected)}")

    same("window", file["window_seconds"] * 10**9, WINDOW)
    for server in file["servers"]:
        public = bytes.fromhex(server["public"])
        own = x25519.X25519PrivateKey.from_private_bytes(bytes.fromhex(server["private"])).public_key()
        same("public", own.public_bytes(*RAW), public)
        same("text", base64.urlsafe_b64encode(public).decode().rstrip("="), server["text"])
        same("gate_key", hashlib.blake2s(b"toctoc gate v1" + public).digest(), bytes.fromhex(server["gate_key"]))
    for user in file["users"]:
        own = User(user["public"].split()[0], bytes.fromhex(user["private"]), user["name"])
        same("key", own.line, user["public"])
        same("blob", own.blob, user["blob"])
        same("fingerprint", fingerprint(own.blob), user["fingerprint"])
    for vector in file["vectors"]:
        name = vector["name"]
        server, asked = servers[vector["server"]], vector["request"]
        steps = encapsulate(bytes.fromhex(vector["hpke"]["random"]), server)
        for step, value in vector["hpke"].items():
            same(f"{name}: {step}", steps[step], value)
        key = base64.b64decode(asked["key"].removeprefix("SHA256:") + "=")
        request = write_request(asked["time"], asked["lasts"], asked["address"], asked["door"], key)
        same(f"{name}: request", request, vector["request_bytes"])
        message = NAME + server + steps["encapsulated"] + request
        same(f"{name}: message", message, vector["message"])
        same(f"{name}: hash", hashlib.sha512(message).digest(), vector["message_sha512"])
        text = to_sign(server, steps["encapsulated"], request)
        same(f"{name}: to_sign", text, vector["to_sign"])
        signature = bytes.fromhex(vector["signature"])
        signer = users[vector["signer"]]
        verify(bytes.fromhex(signer["blob"]), text, signature)
        if signer["public"].startswith(ED):
            own = User(ED, bytes.fromhex(signer["private"]), "")
            same(f"{name}: signature", own.sign(text), signature)
        datagram, content = bytes.fromhex(vector["datagram"]), bytes.fromhex(vector["content"])
        if "admitted" in vector["outcome"]:
            same(f"{name}: content", write_content(request, signature), content)
            same(f"{name}: datagram", seal(steps, content, server), datagram)
        private = bytes.fromhex(file["servers"][0]["private"])
        found = outcome(datagram, private, vector["source"], vector["now"], entries, doors)
        expected = dict(vector["outcome"])
        expected.pop("message", None)
        same(f"{name}: outcome", found, expected)
    print(json.dumps({"vectors": len(file["vectors"]), "wrong": wrong}))


def armoured(blob, signature):
    data = b"SSHSIG\0\0\0\1" + b"".join(map(string, (blob, NAMESPACE, b"", b"sha512", signature)))
    text = base64.b64encode(data).decode()
    lines = [text[at:at + 70] for at in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def ask_ssh_keygen(path):
    file = json.load(open(path, encoding="utf-8"))
    directory = tempfile.TemporaryDirectory()
    os.chdir(directory.name)
    with open("allowed_signers", "w", encoding="utf-8") as allowed:
        for user in file["users"]:
            allowed.write(f"{user['name']} namespaces=\"knock@toctoc\" {user['public']}\n")
    blobs = {user["name"]: bytes.fromhex(user["blob"]) for user in file["users"]}
    good, bad = 0, []

    def verified(vector, message, namespace="knock@toctoc"):
        with open("sig", "w", encoding="utf-8") as sig:
            sig.write(armoured(blobs[vector["signer"]], bytes.fromhex(vector["signature"])))
        command = ["ssh-keygen", "-Y", "verify", "-f", "allowed_signers", "-I", vector["signer"], "-n", namespace]
        done = subprocess.run(command + ["-s", "sig"], input=message, capture_output=True, check=False)
        return done.returncode == 0

    for vector in file["vectors"]:
        message = bytes.fromhex(vector["message"])
        if verified(vector, message):
            good += 1
        else:
            bad.append(vector["name"])
    first = file["vectors"][0]
    message = bytes.fromhex(first["message"])
    if verified(first, message + b"\0"):
        bad.append("another message")
    if verified(first, message, "file"):
        bad.append("another namespace")
    print(json.dumps({"verified": good, "wrong": bad, "signed": sign_with_ssh_keygen(file)}))


def sign_with_ssh_keygen(file):
    """A knock whose signature ssh-keygen has made."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "keygen", "-f", "key"], check=True)
    line = open("key.pub", encoding="utf-8").read().strip()
    blob = base64.b64decode(line.split()[1])
    server = bytes.fromhex(file["servers"][0]["public"])
    steps = encapsulate(os.urandom(32), server)
    now = time.time_ns()
    request = write_request(now, 0, None, "ssh", hashlib.sha256(blob).digest())
    message = NAME + server + steps["encapsulated"] + request
    command = ["ssh-keygen", "-Y", "sign", "-n", "knock@toctoc", "-f", "key"]
    text = subprocess.run(command, input=message, capture_output=True, check=True).stdout.decode()
    data = base64.b64decode("".join(text.split("\n")[1:-2]))
    signature = strings(data[10:])[-1]
    datagram = seal(steps, write_content(request, signature), server)
    return {"authorized_keys": line + "\n", "knocks": [{
        "datagram": datagram.hex(), "source": "192.0.2.7", "now": now,
        "outcome": {"admitted": {"door": "ssh", "name": "keygen", "address": "192.0.2.7", "time_open": 10}},
    }]}


def judge_all():
    given = json.load(sys.stdin)
    private = bytes.fromhex(given["private"])
    entries, doors = entries_of(given["authorized_keys"]), doors_of(given["doors"])
    outcomes = [
        outcome(bytes.fromhex(knock["datagram"]), private, knock["source"], knock["now"], entries, doors)
        for knock in given["knocks"]
    ]
    json.dump(outcomes, sys.stdout)


OPTIONS = [
    "", "", 'doors="ssh,web" ', 'doors="match" ', 'from="192.0.2.0/25,2001:db8::/32" ', "verify-required ",
    'no-touch-required,max-open="1m30s" ', 'from="0.0.0.0/0,!192.0.2.128/25",max-open="1h" ',
    'expiry-time="203001010000Z" ', 'expiry-time="20200101Z",no-pty ',
]
ADDRESSES = ["192.0.2.7", "192.0.2.200", "198.51.100.4", "2001:db8::1", "2001:db9::1"]


def make(count):
    given = json.load(sys.stdin)
    private = bytes.fromhex(given["private"])
    server = x25519.X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(*RAW)
    users, lines = [], []
    for number, options in enumerate(OPTIONS * 4):
        kind = (ED, P256, SK_ED, SK_P256)[number % 4]
        users.append(User(kind, os.urandom(31).rjust(32, b"\1"), f"user{number}"))
        lines.append(options + users[-1].line)
    # The last one is not in the file.
    text = "\n".join(lines[:-1]) + "\n"
    entries, doors = entries_of(text), doors_of(given["doors"])
    now = 1_795_515_200 * 10**9
    knocks = []
    for _ in range(count):
        knock = {"datagram": made_up(server, users, now).hex(), "source": random.choice(ADDRESSES), "now": now}
        knock["outcome"] = outcome(
            bytes.fromhex(knock["datagram"]), private, knock["source"], now, entries, doors
        )
        knocks.append(knock)
    json.dump({"authorized_keys": text, "knocks": knocks}, sys.stdout)


def made_up(server, users, now):
    """Mostly a good knock; some are changed at one place."""
    user = random.choice(users)
    user.flags = random.choice([0, TOUCHED, TOUCHED | VERIFIED, VERIFIED, 0xFF])
    address = random.choice([None, None, *ADDRESSES])
    made = now + random.choice([0, 1, -WINDOW, WINDOW, WINDOW + 1, -WINDOW - 1])
    door = random.choice(["ssh", "match", "web", "no", "é"])
    steps = encapsulate(os.urandom(32), server)
    lasts = random.choice([0, 1, 60, 3600, 2**32 - 1])
    request = write_request(made, lasts, address, door, hashlib.sha256(user.blob).digest())
    signature = user.sign(to_sign(server, steps["encapsulated"], request), random.random() < 0.5)
    content = bytearray(write_content(request, signature))
    where = random.random()
    if where < 0.2:
        content[random.randrange(256)] ^= 1 << random.randrange(8)
    elif where < 0.25:
        content[random.randrange(256)] = 0
    elif where < 0.3:
        # The key and the names in the signature.
        place = 96 + random.randrange(100)
        content[place] = (content[place] + 1) % 256
    datagram = bytearray(seal(steps, bytes(content), server))
    if random.random() < 0.1:
        datagram[random.randrange(320)] ^= 1 << random.randrange(8)
        if random.random() < 0.7:
            datagram = regated(bytes(datagram[16:]), server)
    return bytes(datagram)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["vectors", file]:
            check_vectors(file)
        case ["ssh-keygen", file]:
            ask_ssh_keygen(file)
        case ["judge"]:
            judge_all()
        case ["make", number]:
            make(int(number))
        case _:
            sys.exit(__doc__)
