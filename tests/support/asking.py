"""Requests to the server of `nadir compare`."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

FORM = {
    "prompt": "1girl",
    "negative_prompt": "",
    "cfg_scale": "4.5",
    "steps": "2",
    "seed": "1",
    "size": "",
    "sampler": "euler",
}


def ask(address, body=None, method="POST", path="/draw", **headers):
    """Status, headers and body of an answer; the headers are sent as they are."""
    place = urlsplit(address)
    sent = {"host": place.netloc, "content-type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            connection.putheader(name, value)
        if data is not None:
            connection.putheader("content-length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()
