"""A server on this machine that speaks OpenAI's protocol for chat completions."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serving import serving

MODEL = "served-model"
TEXT = "The left atrium is a chamber of the heart. It lies behind."


@dataclass
class Server:
    """Where it listens, and what it was asked."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


def answer_always(_: dict[str, Any]) -> tuple[str, str]:
    """The same text, to every question."""
    return TEXT, "stop"


@contextmanager
def completion_server(
    answer: Callable[[dict[str, Any]], tuple[str, str]] = answer_always, *, key: str | None = None
) -> Iterator[Server]:
    """Serve `POST /v1/chat/completions`; with *key*, refuse whoever does not send it.

    Args:
        answer: Request to text and finish reason.
        key: The key that is asked for.
    """
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(request)
            server.keys.append(self.headers.get("Authorization"))
            if key and server.keys[-1] != f"Bearer {key}":
                self.reply(401, {"error": {"message": "Incorrect API key", "type": "auth"}})
            elif request["model"] != MODEL:
                self.reply(404, {"error": {"message": "no such model", "type": "not_found"}})
            elif self.path != "/v1/chat/completions":
                self.reply(404, {"error": {"message": "no such path", "type": "not_found"}})
            else:
                self.reply(200, self.completion(*answer(request)))

        def completion(self, text, reason):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
            return {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": MODEL,
                "choices": [choice],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }

        def reply(self, status, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as listening:
        server.url = f"http://127.0.0.1:{listening.server_port}/v1"
        yield server


def said(content: Any, *, reason: str = "stop", **message: Any) -> tuple[int, Any]:
    """A completion with this content, as `raw_server` gives it."""
    whole = {"role": "assistant", "content": content, **message}
    return 200, {"choices": [{"index": 0, "message": whole, "finish_reason": reason}]}


def faulted(status: int, message: str, **more: Any) -> tuple[int, Any]:
    """An error of OpenAI's form."""
    return status, {"error": {"message": message, "type": "error", **more}}


@contextmanager
def raw_server(answer: Callable[[dict[str, Any]], tuple[int, Any]]) -> Iterator[Server]:
    """A server that may say anything: a status with JSON, or with text as a web page.

    Args:
        answer: Request, with the `Authorization` it came with, to status and content. Bytes are
            JSON as it stands; parts of it are sent as they come, until the client goes away.
    """
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(request)
            status, content = answer({**request, "key": self.headers.get("Authorization")})
            is_page = isinstance(content, str)
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if is_page else "application/json")
            if not isinstance(content, Iterator):
                if not isinstance(content, bytes):
                    content = content.encode() if is_page else json.dumps(content).encode()
                self.send_header("Content-Length", str(len(content)))
                content = [content]
            self.end_headers()
            with suppress(ConnectionError):
                for part in content:
                    self.wfile.write(part)

        def log_message(self, *_):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as listening:
        server.url = f"http://127.0.0.1:{listening.server_port}/v1"
        yield server
