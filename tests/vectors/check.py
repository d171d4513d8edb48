#!/usr/bin/env python3
"""A second implementation of docs/protocol.md, held against the test vectors.

Standard library only; written from the specification, not from the Rust code.
It seals every packet that a sender can make and receives every packet. Slow,
not in constant time: for checking, never for use.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import pathlib
import struct
import sys

P = 2**255 - 19
SMALL_ORDER = {
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
}
KINDS = ["spad-pub-", "spad-secret-", "spa-pub-", "spa-secret-", "spa-shared-", "spa-psk-"]


class Refused(Exception):
    """Stage and reason."""


# RFC 7748


def x25519(scalar, point):
    k = bytearray(scalar)
    k[0] &= 248
    k[31] = k[31] & 127 | 64
    k = int.from_bytes(k, "little")
    x1 = int.from_bytes(point, "little") & (2**255 - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def check_public(key):
    number = int.from_bytes(key, "little")
    if number >= P:
        raise Refused("text", "not_canonical")
    if number in SMALL_ORDER:
        raise Refused("text", "small_order")


# SipHash-2-4


def rotate(x, n, bits):
    return (x << n | x >> (bits - n)) & (2**bits - 1)


def siphash(key, data, long):
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    if long:
        v[1] ^= 0xEE
    mask = 2**64 - 1

    def rounds(n):
        for _ in range(n):
            v[0] = v[0] + v[1] & mask
            v[1] = rotate(v[1], 13, 64) ^ v[0]
            v[0] = rotate(v[0], 32, 64)
            v[2] = v[2] + v[3] & mask
            v[3] = rotate(v[3], 16, 64) ^ v[2]
            v[0] = v[0] + v[3] & mask
            v[3] = rotate(v[3], 21, 64) ^ v[0]
            v[2] = v[2] + v[1] & mask
            v[1] = rotate(v[1], 17, 64) ^ v[2]
            v[2] = rotate(v[2], 32, 64)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE if long else 0xFF
    rounds(4)
    out = struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])
    if long:
        v[1] ^= 0xDD
        rounds(4)
        out += struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])
    return out


# RFC 8439


def chacha20_block(key, counter, nonce):
    start = list(struct.unpack("<4I8I4I", b"expand 32-byte k" + key + struct.pack("<I", counter) + nonce))
    s = start[:]

    def quarter(a, b, c, d):
        for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = s[x] + s[y] & 0xFFFFFFFF
            s[z] = rotate(s[z] ^ s[x], n, 32)

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for column in range(4):
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(s, start)))


def chacha20(key, data):
    stream = b"".join(chacha20_block(key, 1 + i, bytes(12)) for i in range(len(data) // 64 + 1))
    return bytes(a ^ b for a, b in zip(data, stream))


def poly1305(key, associated, ciphertext):
    def pad(data):
        return data + bytes(-len(data) % 16)

    message = pad(associated) + pad(ciphertext) + struct.pack("<QQ", len(associated), len(ciphertext))
    one_time = chacha20_block(key, 0, bytes(12))
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at : at + 16] + b"\1", "little")) * r % (2**130 - 5)
    return (total + int.from_bytes(one_time[16:32], "little") & (2**128 - 1)).to_bytes(16, "little")


# Keys: sections 3 and 4


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(prk, info, length):
    assert length <= 32
    return mac(prk, info + b"\1")[:length]


def hkdf(salt, secret, info, length):
    return expand(mac(salt or bytes(32), secret), info, length)


def unhex(text):
    return bytes.fromhex(text)


class Keys:
    """Everything that one client shares with one server."""

    def __init__(self, case):
        server = unhex(case["server"]["public_key"])
        assert x25519(unhex(case["server"]["secret_key"]), (9).to_bytes(32, "little")) == server
        self.pair_secret = self.shared_key_name = None
        if "shared_key" in case:
            secret = unhex(case["shared_key"])
            self.shared_key_name = name = hkdf(b"", secret, b"spa1 shared key name", 32)
        else:
            name = unhex(case["client"]["public_key"])
            if name == server:
                raise Refused("pair", "same_as_server")
            check_public(name)
            client = unhex(case["client"]["secret_key"])
            assert x25519(client, (9).to_bytes(32, "little")) == name
            self.pair_secret = x25519(client, server)
            assert self.pair_secret == x25519(unhex(case["server"]["secret_key"]), name)
            assert self.pair_secret != bytes(32)
            secret = self.pair_secret + name + unhex(case.get("pre_shared_key", ""))
        self.key_id = hkdf(server, name, b"spa1 key id", 8)
        head = hkdf(b"spa1", server, b"spa1 head", 32)
        self.mask_key, self.tag_key = head[:16], head[16:]
        self.prk = mac(server, secret)
        self.authentication_key = expand(self.prk, b"spa1 authentication", 32)

    def encryption_key(self, nonce):
        return expand(self.prk, b"spa1 encryption" + nonce, 32)


# The request: section 6


def encode(request):
    actions = {"open": 1, "close": 2, "run": 3, "join": 4}
    protocols = {"tcp": 6, "udp": 17, "sctp": 132}
    out = bytes([1, actions[request["action"]], int(request.get("once", False))])
    out += struct.pack(">IH", request.get("duration", 0), request.get("source_port", 0))
    addresses = sorted((ipaddress.ip_address(a) for a in request.get("addresses", [])), key=lambda a: a.version)
    out += bytes([len(addresses)]) + b"".join(bytes([a.version]) + a.packed for a in addresses)
    services = (service.split("/") for service in request.get("services", []))
    services = sorted((protocols[protocol], int(port)) for protocol, port in services)
    out += bytes([len(services)]) + b"".join(struct.pack(">BH", *service) for service in services)
    command = request.get("command", "").encode()
    return out + bytes([len(command)]) + command + unhex(request.get("joiner", ""))


def unusable(address):
    networks = (
        "0.0.0.0/32 127.0.0.0/8 169.254.0.0/16 224.0.0.0/4 255.255.255.255/32 "
        "::/128 ::1/128 fe80::/10 ff00::/8 ::ffff:0:0/96 64:ff9b::/96"
    )
    networks = map(ipaddress.ip_network, networks.split())
    return any(n.version == address.version and address in n for n in networks)


def decode(data):
    at = 0

    def fault(reason):
        raise Refused("request", reason)

    def take(length):
        nonlocal at
        if at + length > len(data):
            fault("truncated")
        at += length
        return data[at - length : at]

    def number(length):
        return int.from_bytes(take(length), "big")

    if number(1) != 1:
        fault("unknown_version")
    action = number(1)
    if action not in (1, 2, 3, 4):
        fault("unknown_action")
    flags = number(1)
    if flags > 1:
        fault("unknown_flag")
    duration, source_port = number(4), number(2)

    addresses, families = [], []
    count = number(1)
    if count > 2:
        fault("too_many_addresses")
    for _ in range(count):
        family = number(1)
        if family not in (4, 6):
            fault("unknown_family")
        if family in families:
            fault("duplicate_family")
        if families and family < families[-1]:
            fault("unordered_family")
        families.append(family)
        address = ipaddress.ip_address(bytes(take(4 if family == 4 else 16)))
        if unusable(address):
            fault("unusable_address")
        addresses.append(str(address))

    services = []
    count = number(1)
    if count > 16:
        fault("too_many_services")
    for _ in range(count):
        protocol = number(1)
        if protocol not in (6, 17, 132):
            fault("unknown_protocol")
        port = number(2)
        if port == 0:
            fault("zero_port")
        if services and (protocol, port) == services[-1]:
            fault("duplicate_service")
        if services and (protocol, port) < services[-1]:
            fault("unordered_service")
        services.append((protocol, port))

    length = number(1)
    if length > 64:
        fault("command_too_long")
    command = take(length)
    plain = b"abcdefghijklmnopqrstuvwxyz0123456789"
    if command and (command[0] not in plain or any(c not in plain + b"_-" for c in command)):
        fault("malformed_command")
    if action == 3 and not command:
        fault("missing_command")
    joiner = take(32) if action == 4 else b""

    unused = {
        1: [command],
        2: [flags, duration, source_port, command],
        3: [flags, duration, source_port, addresses, services],
        4: [flags, duration, source_port, addresses, services, command],
    }
    if any(unused[action]):
        fault("unused_field")
    if action == 1 and flags and source_port:
        fault("once_with_source_port")
    if any(data[at:]):
        fault("nonzero_padding")

    names = {6: "tcp", 17: "udp", 132: "sctp"}
    services = [f"{names[protocol]}/{port}" for protocol, port in services]
    if action == 1:
        return dict(
            action="open",
            once=bool(flags),
            duration=duration,
            source_port=source_port,
            addresses=addresses,
            services=services,
        )
    if action == 2:
        return dict(action="close", addresses=addresses, services=services)
    if action == 3:
        return dict(action="run", command=command.decode())
    return dict(action="join", joiner=joiner.hex())


# The packet: section 5


def seal(keys, plaintext, timestamp, nonce):
    mask = siphash(keys.mask_key, nonce, True)
    plain = keys.key_id + struct.pack(">Q", timestamp)
    packet = nonce + bytes(a ^ b for a, b in zip(plain, mask))
    packet += siphash(keys.tag_key, packet, False)
    key = keys.encryption_key(nonce)
    ciphertext = chacha20(key, plaintext)
    packet += ciphertext + poly1305(key, packet, ciphertext)
    return packet + mac(keys.authentication_key, packet)


def padded(request, draw):
    unpadded = 96 + len(request)
    length = max(160, unpadded) + draw
    return request + bytes(length - unpadded)


def receive(keys, packet, now, skew, seen):
    """The checks of section 7 that concern one packet."""
    if not 160 <= len(packet) <= 512:
        raise Refused("identify", "length")
    if siphash(keys.tag_key, packet[:40], False) != packet[40:48]:
        raise Refused("identify", "head_tag")
    nonce = packet[:24]
    mask = siphash(keys.mask_key, nonce, True)
    plain = bytes(a ^ b for a, b in zip(packet[24:40], mask))
    if plain[:8] != keys.key_id:
        raise Refused("lookup", "unknown_key")
    (timestamp,) = struct.unpack(">Q", plain[8:])
    if timestamp < now - skew:
        raise Refused("screen", "stale")
    if not hmac.compare_digest(mac(keys.authentication_key, packet[:-32]), packet[-32:]):
        raise Refused("authenticate", "hmac")
    if nonce in seen:
        raise Refused("record", "replay")
    seen.add(nonce)
    key, ciphertext = keys.encryption_key(nonce), packet[48:-48]
    if poly1305(key, packet[:48], ciphertext) != packet[-48:-32]:
        raise Refused("open", "decryption")
    request = decode(chacha20(key, ciphertext))
    if timestamp > now + skew:
        raise Refused("time", "future")
    return request


# Text forms: section 3.4


def read_text(prefix, text):
    text = text.strip(" \t\r\n")
    if not text:
        raise Refused("text", "empty")
    if not text.startswith(prefix):
        other = any(text.startswith(kind) for kind in KINDS)
        raise Refused("text", "other_kind" if other else "unknown_prefix")
    letters = text[len(prefix) :]
    if len(letters) != 48:
        raise Refused("text", "length")
    if not all(c.isascii() and (c.isalnum() or c in "-_") for c in letters):
        raise Refused("text", "character")
    data = base64.urlsafe_b64decode(letters)
    key, checksum = data[:32], data[32:]
    if hashlib.sha256(prefix.encode() + key).digest()[:4] != checksum:
        raise Refused("text", "checksum")
    if prefix.endswith("-pub-"):
        check_public(key)
    return key


# The vectors


def expect(case, what):
    """Runs `what`, and compares how it ends with the case's outcome."""
    outcome = case["outcome"]
    try:
        result = what()
    except Refused as refused:
        stage, reason = refused.args
        assert not outcome["accepted"], f"refused: {stage}, {reason}"
        assert (stage, reason) == (outcome["stage"], outcome["reason"]), f"{stage}, {reason}"
        return None
    assert outcome["accepted"], "accepted"
    return result


def check_packet(case):
    keys = Keys(case)
    assert keys.key_id.hex() == case["key_id"], "key id"
    packet = unhex(case["packet"])
    accepted = case["outcome"]["accepted"]
    if accepted or case["outcome"]["stage"] in ("request", "time"):
        plaintext = unhex(case["plaintext"])
        sealed = seal(keys, plaintext, int(case["timestamp"]), unhex(case["nonce"]))
        assert sealed == packet, "sealed otherwise"
    if accepted and "length_draw" in case:
        assert padded(encode(case["request"]), case["length_draw"]) == plaintext, "padded otherwise"
    seen = set()
    now, skew = int(case["now"]), case["max_skew_seconds"] * 1_000_000
    request = expect(case, lambda: receive(keys, packet, now, skew, seen))
    if accepted:
        assert request == case["request"], f"{request}"
        try:
            receive(keys, packet, now, skew, seen)
            raise AssertionError("accepted twice")
        except Refused as refused:
            assert refused.args == ("record", "replay")


def check_key_text(case):
    key = expect(case, lambda: read_text(case["expected_prefix"], case["text"]))
    if key is not None:
        assert key.hex() == case["key"], "another key"


def check_keys(case):
    keys = expect(case, lambda: Keys(case))
    if keys is None:
        return
    nonce = unhex(case["nonce"])
    derived = {
        "pair_secret": keys.pair_secret,
        "shared_key_name": keys.shared_key_name,
        "key_id": keys.key_id,
        "mask_key": keys.mask_key,
        "tag_key": keys.tag_key,
        "prk": keys.prk,
        "encryption_key": keys.encryption_key(nonce),
        "authentication_key": keys.authentication_key,
        "mask": siphash(keys.mask_key, nonce, True),
        "tag_of_40_zero_bytes": siphash(keys.tag_key, bytes(40), False),
        "hmac_of_nonce": mac(keys.authentication_key, nonce),
    }
    derived = {name: value.hex() for name, value in derived.items() if value is not None}
    assert derived == case["derived"], f"{derived}"


def main():
    folder = pathlib.Path(__file__).parent
    checks = {"packet": check_packet, "key_text": check_key_text, "keys": check_keys}
    agree = differ = 0
    for kind, check in checks.items():
        for path in sorted((folder / kind).glob("*.json")):
            try:
                check(json.loads(path.read_text(encoding="utf-8")))
                agree += 1
            except AssertionError as error:
                print(f"{kind}/{path.name}: {error}")
                differ += 1
    print(f"{agree} vectors agree, {differ} differ")
    sys.exit(differ != 0 or agree == 0)


if __name__ == "__main__":
    main()
