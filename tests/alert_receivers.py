"""A web server and a mail server that keep the alerts which they get."""

from __future__ import annotations

import email
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trio


class WebHook:
    """A web server that keeps the bodies of the requests."""

    def __init__(self):
        self.bodies = []
        self.keys = []
        self.status = 200
        self.came = threading.Condition()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with hook.came:
                    if hook.status == 200:
                        hook.bodies.append(json.loads(body))
                        hook.keys.append(self.headers["Idempotency-Key"])
                    hook.came.notify_all()
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://127.0.0.1:{self.server.server_port}/hook"

    async def wait(self, number):
        """Return the titles and the texts of the first messages."""

        def wait():
            with self.came:
                assert self.came.wait_for(lambda: len(self.bodies) >= number, 20)

        await trio.to_thread.run_sync(wait)
        return [(each["title"], each["message"]) for each in self.bodies]


async def take_mail(mails, done, stream):
    """Take one mail over SMTP, and set the event at its end."""
    await stream.send_all(b"220 test ESMTP\r\n")
    data, is_mail, buffer = b"", False, b""
    async for chunk in stream:
        buffer += chunk
        while b"\r\n" in buffer:
            line, _, buffer = buffer.partition(b"\r\n")
            if is_mail and line != b".":
                data += line + b"\r\n"
                continue
            if is_mail:
                mails.append(email.message_from_bytes(data))
                is_mail = False
            word = line[:4].upper()
            is_mail = word == b"DATA"
            await stream.send_all(b"354 go\r\n" if is_mail else b"250 ok\r\n")
            if word == b"QUIT":
                done.set()
                return
