"""Drives the official Python library: one JSON request per line in, one JSON answer per line out.

    official.py FOLDER_OF_THE_LIBRARY

`make` calls the library with a frozen clock. `examine` decodes a token with the library's own
base64 and recomputes its MAC with the library's own function.
"""
import json
import sys
import time
import zlib

sys.path.insert(0, sys.argv[1])
import TLSSigAPIv2 as official  # noqa: E402


def make(request):
    time.time = lambda: request["now"]
    api = official.TLSSigAPIv2(request["app"], request["secret"])
    if "userbuf" in request:
        userbuf = bytes.fromhex(request["userbuf"])
        return {"token": api.gen_sig_with_userbuf(request["user"], request["expire"], userbuf)}
    return {"token": api.gen_sig(request["user"], request["expire"])}


def examine(request):
    text = zlib.decompress(official.base64_decode_url(request["token"].encode())).decode()
    claims = json.loads(text)
    api = official.TLSSigAPIv2(claims["TLS.sdkappid"], request["secret"])
    mac = api._TLSSigAPIv2__hmacsha256(
        claims["TLS.identifier"],
        claims["TLS.time"],
        claims["TLS.expire"],
        claims.get("TLS.userbuf"),
    ).decode()
    return {"json": text, "claims": claims, "mac_matches": mac == claims["TLS.sig"]}


for line in sys.stdin:
    request = json.loads(line)
    answer = {"make": make, "examine": examine}[request["op"]](request)
    print(json.dumps(answer), flush=True)
