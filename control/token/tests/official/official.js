// Drives the official npm library: one JSON request per line in, one JSON answer per line out.
//
//     node official.js FOLDER_OF_THE_LIBRARY
//
// `make` calls the library with a frozen clock. `examine` decodes a token with the library's
// alphabet and recomputes its MAC, and for a ticket its userbuf, with the library's own functions.
'use strict';
const path = require('path');
const readline = require('readline');
const zlib = require('zlib');
const { Api } = require(path.join(path.resolve(process.argv[2]), 'node_modules', 'tls-sig-api-v2', 'TLSSigAPIv2.js'));

const freeze = (now) => { Date.now = () => now * 1000; };

function make(request) {
    freeze(request.now);
    const api = new Api(request.app, request.secret);
    const { user, expire, privileges } = request;
    let token;
    if ('room_text' in request) {
        token = api.genPrivateMapKeyWithStringRoomID(user, expire, request.room_text, privileges);
    } else if ('room_number' in request) {
        token = api.genPrivateMapKey(user, expire, request.room_number, privileges);
    } else if ('userbuf' in request) {
        token = api.genSig(user, expire, Buffer.from(request.userbuf, 'hex'));
    } else {
        token = api.genUserSig(user, expire);
    }
    return { token };
}

function examine(request) {
    const base64 = request.token.replace(/_/g, '=').replace(/-/g, '/').replace(/\*/g, '+');
    const json = zlib.inflateSync(Buffer.from(base64, 'base64')).toString();
    const claims = JSON.parse(json);
    const api = new Api(claims['TLS.sdkappid'], request.secret);
    const userbuf = claims['TLS.userbuf'];
    const mac = api._hmacsha256(
        claims['TLS.identifier'], claims['TLS.time'], claims['TLS.expire'], userbuf);
    const answer = { json, claims, mac_matches: mac === claims['TLS.sig'] };
    if (request.expect_ticket) {
        const want = request.expect_ticket;
        freeze(want.now);
        const text = 'room_text' in want ? want.room_text : null;
        const number = 'room_number' in want ? want.room_number : 0;
        const bytes = api._genUserbuf(want.user, number, want.expire, want.privileges, 0, text);
        answer.ticket_matches = bytes.toString('base64') === userbuf;
    }
    return answer;
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const request = JSON.parse(line);
    const answer = { make, examine }[request.op](request);
    process.stdout.write(JSON.stringify(answer) + '\n');
});
