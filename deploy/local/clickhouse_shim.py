"""ClickHouse's HTTP interface, as much of it as its Rust client uses, over the engine chDB.

Usage: clickhouse_shim.py PORT FOLDER. Statements run one at a time. Compressed bodies and
server-side parameters are refused rather than misread.
"""

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from chdb import session

PORT, FOLDER = int(sys.argv[1]), sys.argv[2]
# What of a URL is about the request; the rest of it is settings.
OF_THE_REQUEST = {
    "client_protocol_version", "database", "decompress", "default_format", "query", "query_id",
    "role", "session_id",
}
INSERT = re.compile(r"\s*(INSERT\s+INTO\s+.*?)\s+FORMAT\s+(\w+)\s*;?\s*$", re.I | re.S)
STATUS = {60: 404, 62: 400, 81: 404}

engine = ThreadPoolExecutor(1)
chdb = engine.submit(session.Session, os.path.join(FOLDER, "clickhouse")).result()


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def run(url, body):
    """Runs one request's statement, with its settings for it alone, and returns what it yields."""
    given = dict(parse_qsl(url.query, keep_blank_values=True))
    settings = {name: value for name, value in given.items() if name not in OF_THE_REQUEST}
    chdb.query("USE `%s`" % given.get("database", "default").replace("`", "\\`"))
    for name, value in settings.items():
        chdb.query(f"SET {name} = {quoted(value)}")
    try:
        insert = INSERT.match(given.get("query", ""))
        if not insert:
            sql = given.get("query", "") + body.decode()
            return chdb.query(sql, given.get("default_format", "TabSeparated")).bytes()
        rows = os.path.join(FOLDER, "rows")
        with open(rows, "wb") as file:
            file.write(body)
        if body:
            chdb.query(f"{insert[1]} FROM INFILE {quoted(rows)} FORMAT {insert[2]}")
        return b""
    finally:
        for name in settings:
            chdb.query(f"SET {name} = DEFAULT")


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet an answer, or each waits for the client's delayed acknowledgement.
    wbufsize = -1

    def do_GET(self):
        if urlsplit(self.path).path == "/ping":
            self.answer(200, b"Ok.\n")
        else:
            self.do_POST()

    def do_POST(self):
        url, body = urlsplit(self.path), self.body()
        if "decompress=1" in url.query or "multipart" in self.headers.get("Content-Type", ""):
            self.answer(501, b"neither compression nor server-side parameters are served here")
            return
        try:
            self.answer(200, engine.submit(run, url, body).result())
        except Exception as error:  # the engine's own, told to the client as ClickHouse does
            code = re.search(r"Code: (\d+)", str(error))
            code = int(code[1]) if code else 1000
            self.answer(STATUS.get(code, 500), str(error).encode(), code)

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def answer(self, status, body, code=None):
        self.send_response(status)
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Door).serve_forever()
