"""Writes the token vectors. Called by `regenerate`:

    generate.py DRIVERS LIBRARIES USERSIG_FOLDER PRIVATEMAPKEY_FOLDER

official.json holds what the official PyPI and npm libraries wrote. shapes.json holds the content
with the zlib level, key order and escapes of the official libraries that no registry carries
(Go, PHP, C++, an older Java), and refused tokens that only an issuer could make; they are built
here from hmac, base64 and zlib.
"""
import base64
import hashlib
import hmac
import json
import pathlib
import struct
import subprocess
import sys
import zlib

drivers, libraries, usersig, privatemapkey = map(pathlib.Path, sys.argv[1:])
SECRETS = [hashlib.sha256(b"roomlane test secret %d" % n).hexdigest() for n in (1, 2)]
APP, NOW = 1400000000, 1750000000
LONGEST_USER = "U" + "x-_9" * 7 + "abc"
LONGEST_ROOM = "abcXYZ019 !#$%&()+-:;<=.>?@[]^_{}|~,".ljust(64, "r")


class Driver:
    def __init__(self, *command):
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


python = Driver("python3", drivers / "official.py", libraries / "py")
npm = Driver("node", drivers / "official.js", libraries / "js")


def plain(token):
    text = token.replace("*", "+").replace("-", "/").replace("_", "=")
    return zlib.decompress(base64.b64decode(text)).decode()


def vector(name, made_by, token, user, expires, refusal=None, secret=SECRETS[0], **more):
    return {
        "name": name, "made_by": made_by, "app": APP, "secret": secret, "user": user, "now": NOW,
        **more, "expires": expires, "refusal": refusal, "token": token, "json": plain(token),
    }


def official_user_sigs():
    for library, drive in (("PyPI 1.1", python), ("npm 1.0.2", npm)):
        for user, expire in (("alice", 86400), ("a", 1), (LONGEST_USER, 15552000), ("0", 0)):
            request = {"op": "make", "app": APP, "secret": SECRETS[0], "user": user,
                       "expire": expire, "now": NOW}
            yield vector(f"{user}, {expire} s", library, drive(**request)["token"], user, NOW + expire)
        request = {**request, "user": "alice", "expire": 60, "secret": SECRETS[1]}
        yield vector("second secret", library, drive(**request)["token"], "alice", NOW + 60,
                     secret=SECRETS[1])
        opaque = drive(**request, userbuf=b"abc".hex())["token"]
        yield vector("opaque userbuf", library, opaque, "alice", NOW + 60, secret=SECRETS[1])
        for user in ("alice\nTLS.sdkappid:1", "über", "a b", "", "u" * 33):
            token = drive(**{**request, "user": user})["token"]
            yield vector(f"user {user!r}", library, token, user, NOW + 60, "malformed_user",
                         secret=SECRETS[1])


def ticket_bytes(user, expires, privileges, number=0, text=None):
    account = user.encode()
    out = struct.pack(">BH", 0 if text is None else 1, len(account)) + account
    out += struct.pack(">5I", APP, number, expires, privileges, 0)
    return out if text is None else out + struct.pack(">H", len(text)) + text.encode()


def official_tickets():
    cases = [
        ("alice", {"room_number": 1}, 255, None),
        ("alice", {"room_number": 8888}, 42, None),
        (LONGEST_USER, {"room_number": 4294967294}, 1, None),
        ("a", {"room_number": 4294967295}, 128, None),
        ("alice", {"room_text": "8888"}, 255, None),
        (LONGEST_USER, {"room_text": LONGEST_ROOM}, 0, None),
        ("alice", {"room_text": ""}, 255, "ticket_malformed_room"),
        ("alice", {"room_number": 0}, 255, "ticket_malformed_room"),
        ("alice", {"room_text": "r" * 65}, 255, "ticket_malformed_room"),
        ("alice", {"room_text": 'quote"'}, 255, "ticket_malformed_room"),
        ("alice", {"room_number": 1}, 256, "ticket_unknown_privileges"),
    ]
    for user, room, privileges, refusal in cases:
        request = {"op": "make", "app": APP, "secret": SECRETS[0], "user": user, "expire": 300,
                   "now": NOW}
        name = f"{user} {room} {privileges}"
        token = npm(**request, **room, privileges=privileges)["token"]
        yield vector(name, "npm 1.0.2", token, user, NOW + 300, refusal, **room,
                     privileges=privileges)
        # PyPI 1.1 has no call for tickets, but one for the userbuf they are carried in.
        inside = ticket_bytes(user, NOW + 300, privileges, room.get("room_number", 0),
                              room.get("room_text"))
        token = python(**request, userbuf=inside.hex())["token"]
        yield vector(name, "PyPI 1.1", token, user, NOW + 300, refusal, **room,
                     privileges=privileges)


def shape(order, user="alice", expire=300, userbuf=None, dumps=json.dumps, level=6, wbits=15,
          end="", secret=SECRETS[0], version="2.0", skip=(), **replace):
    signed = f"TLS.identifier:{user}\nTLS.sdkappid:{APP}\nTLS.time:{NOW}\nTLS.expire:{expire}\n"
    claims = {"ver": version, "id": user, "identifier": user, "sdkappid": APP, "time": NOW,
              "expire": expire}
    if userbuf is not None:
        signed += f"TLS.userbuf:{userbuf}\n"
        claims["userbuf"] = userbuf
    mac = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    claims["sig"] = base64.b64encode(mac).decode()
    claims.update(replace)
    text = dumps({f"TLS.{key}": claims[key] for key in order.split()
                  if key in claims and key not in skip}) + end
    deflate = zlib.compressobj(level, zlib.DEFLATED, wbits)
    packed = deflate.compress(text.encode()) + deflate.flush()
    return base64.b64encode(packed).decode().replace("+", "*").replace("/", "-").replace("=", "_")


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def slashes(value):
    return compact(value).replace("/", "\\/")


def html_safe(value):
    return compact(value).replace("=", "\\u003d").replace("/", "\\u002F")


GO = "ver identifier sdkappid expire time userbuf sig"
CPP = "ver sdkappid identifier time expire userbuf sig"
HASHED = "sig identifier userbuf time expire ver sdkappid"


def shapes(userbuf):
    made = lambda name, note, **options: (name, note, options)
    yield made("stored blocks and a line end", "as Go", order=GO, dumps=compact, level=0, end="\n")
    yield made("escaped slashes", "as PHP", order=GO, dumps=slashes)
    yield made("fast and app first", "as C++", order=CPP, dumps=compact, level=1)
    yield made("sig first", "as Java", order=HASHED, dumps=compact)
    yield made("unicode escapes", "as a JSON writer made for HTML", order=GO, dumps=html_safe)
    yield made("level 9", "any", order=GO, level=9)
    yield made("window of 512 bytes", "any", order=GO, wbits=9)
    yield made("no expire", "as Go with expire 0", order=GO, skip=("expire",), refuse="missing_field")
    yield made("version 1.0", "issuer", order=GO, version="1.0", refuse="unsupported_version")
    yield made("version 2.00", "issuer", order=GO, version="2.00", refuse="unsupported_version")
    yield made("number as version", "issuer", order=GO, ver=2, refuse="wrong_field_type")
    yield made("number as user", "issuer", order=GO, user="7", identifier=7, refuse="wrong_field_type")
    yield made("app as text", "issuer", order=GO, sdkappid=str(APP), refuse="wrong_field_type")
    yield made("negative expire", "issuer", order=GO, expire=-1, refuse="wrong_field_type")
    yield made("expire with a point", "issuer", order=GO, expire=300.0, refuse="wrong_field_type")
    yield made("expire of 2^63 - 1", "issuer", order=GO, expire=2**63 - 1, refuse="number_out_of_range")
    yield made("sum above 2^53 - 1", "issuer", order=GO, expire=2**53 - 1, refuse="number_out_of_range")
    if userbuf is not None:
        lines = [userbuf[at:at + 76] for at in range(0, len(userbuf), 76)]
        yield made("broken lines", "as an older Java", order=HASHED, dumps=slashes,
                   userbuf="\r\n".join(lines))
        yield made("broken lines and a last one", "as an older Java", order=HASHED,
                   userbuf="\n".join(lines) + "\n")
        yield made("spaced userbuf", "issuer", order=GO, userbuf=" ".join(lines),
                   refuse="malformed_userbuf")


def shaped(userbuf, **more):
    for name, note, options in shapes(userbuf):
        refuse = options.pop("refuse", None)
        options.setdefault("userbuf", userbuf)
        token = shape(**options)
        yield vector(name, note, token, options.get("user", "alice"), NOW + 300, refuse, **more)


def older_format():
    text = compact({"TLS.account_type": "0", "TLS.identifier": "alice", "TLS.appid_at_3rd": "0",
                    "TLS.sdk_appid": str(APP), "TLS.expire_after": "300",
                    "TLS.version": "201512300000", "TLS.time": str(NOW), "TLS.sig": "MEUCIQ=="})
    token = base64.b64encode(zlib.compress(text.encode())).decode()
    token = token.replace("+", "*").replace("/", "-").replace("=", "_")
    return vector("ECDSA format", "before July 2019", token, "alice", NOW + 300,
                  "unsupported_version")


def write(path, vectors):
    vectors = list(vectors)
    path.write_text(json.dumps(vectors, indent=1, ensure_ascii=True) + "\n")
    print(f"{path.parent.name}/{path.name}: {len(vectors)} vectors")


write(usersig / "official.json", official_user_sigs())
write(usersig / "shapes.json", [*shaped(None), older_format()])
write(privatemapkey / "official.json", official_tickets())
room = "team room " + "r" * 54
inside = base64.b64encode(ticket_bytes("alice", NOW + 300, 42, 0, room)).decode()
write(privatemapkey / "shapes.json", shaped(inside, room_text=room, privileges=42))
python.close()
npm.close()
