"""A server on loopback that answers real ODBC drivers from a `Database`."""

import contextlib
import queue
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tests.support.tds import protocol
from tests.support.tds.database import Database, Result, Session
from tests.support.tds.errors import SqlError
from tests.support.tds.parameters import Parameter
from tests.support.tds.protocol import COUNTED, DONE, DONE_IN_PROC, DONE_PROC, FAILED, MORE, done
from tests.support.tds.type_info import describe_type

_TYPE_INFO = re.compile(
    r"\s*(?:EXEC\w*\s+)?(?:\[?sys\]?\.)?sp_datatype_info\w*\s+(?:@data_type\s*=\s*)?(-?\d+)", re.IGNORECASE
)
_END = (-1, b"")
_DECLARED = re.compile(r"@(\w+)")
_BRACKETS = re.compile(r"\([^)]*\)")


class _Handler(socketserver.BaseRequestHandler):
    """One connection: login, then requests in turn, while another thread listens for attentions."""

    server: "_Listener"
    request: socket.socket

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            protocol.read_message(self.request)
            protocol.write_message(self.request, protocol.prelogin_reply())
            session = self._login()
            if session is None:
                return
            self._prepared: dict[int, tuple[str, str]] = {}
            self._session = session
            try:
                self._serve()
            finally:
                session.cursor.close()

    def _login(self) -> Session | None:
        database = self.server.owner.database
        login = protocol.parse_login(protocol.read_message(self.request)[1])
        problem = None
        if database.users.get(login.user) != login.password:
            problem = SqlError.login_failed(login.user)
        elif login.database and login.database.lower() != database.name.lower():
            problem = SqlError.no_database(login.database)
        if problem:
            self._send(self._error(problem) + done(status=FAILED))
            return None
        self._send(protocol.login_reply(login, database.name) + done())
        return database.session(login.user, login.host, login.application, self.server.next_number())

    def _serve(self) -> None:
        requests: queue.Queue[tuple[int, bytes]] = queue.Queue()
        threading.Thread(target=self._listen, args=(requests,), daemon=True).start()
        while (request := requests.get()) != _END:
            kind, data = request
            if kind == protocol.ATTENTION:
                self._session.cancelled.clear()
                self._send(done(status=protocol.ATTENDED))
                continue
            answer = self._answer(kind, data)
            # A cancelled request is answered by its attention, which waits in the queue.
            if not self._session.cancelled.is_set():
                self._send(answer)

    def _listen(self, requests: queue.Queue[tuple[int, bytes]]) -> None:
        """Reads on while a request runs: an attention must reach it."""
        with contextlib.suppress(ConnectionError, OSError):
            while True:
                message = protocol.read_message(self.request)
                if message[0] == protocol.ATTENTION:
                    self._session.cancel()
                requests.put(message)
        self._session.cancel()
        requests.put(_END)

    def _answer(self, kind: int, data: bytes) -> bytes:
        token = DONE_PROC if kind == protocol.RPC else DONE
        try:
            if kind == protocol.TRANSACTION:
                return self._transaction(data)
            self.server.owner.wait(self._session)
            if kind == protocol.RPC:
                return self._call(*protocol.parse_call(data))
            return self._batch(protocol.parse_batch(data))
        except SqlError as problem:
            return self._error(problem) + done(token, FAILED)
        except Exception as problem:  # noqa: BLE001 - a client must hear of a fault in here, not hang
            fault = SqlError(50000, f"Fault of the test server: {type(problem).__name__}: {problem}")
            return self._error(fault) + done(token, FAILED)

    def _transaction(self, data: bytes) -> bytes:
        kind, again = protocol.parse_transaction(data)
        session = self._session
        number = b"\x08" + struct.pack("<Q", session.number)
        if kind == 5:
            session.transactions = 1
            return protocol.environment(8, number) + done()
        if not session.transactions:
            return done()
        session.transactions = int(again)
        ended = protocol.environment(9 if kind == 7 else 10, b"\0", number)
        return ended + (protocol.environment(8, number) if again else b"") + done()

    def _batch(self, sql: str) -> bytes:
        results = self._run(sql, {})
        parts = [
            self._encode(result, DONE, last=index == len(results) - 1) for index, result in enumerate(results)
        ]
        return b"".join(parts) or done()

    def _call(self, procedure: str, parameters: list[Parameter]) -> bytes:
        values = [parameter.value for parameter in parameters]
        tail = b""
        results: list[Result] = []
        if procedure == "sp_executesql":
            results = self._run(values[0], _bind(values[1] if len(values) > 1 else "", parameters[2:]))
        elif procedure in {"sp_prepare", "sp_prepexec"}:
            declared, sql = values[1] or "", values[2]
            handle = len(self._prepared) + 1
            self._prepared[handle] = (declared, sql)
            tail = protocol.return_handle(handle)
            results = self._run(sql, _bind(declared, parameters[3:])) if procedure == "sp_prepexec" else []
        elif procedure == "sp_execute":
            if values[0] not in self._prepared:
                raise SqlError(8179, f"Could not find prepared statement with handle {values[0]}.")
            declared, sql = self._prepared[values[0]]
            results = self._run(sql, _bind(declared, parameters[1:]))
        elif procedure.startswith("sp_datatype_info"):
            results = [describe_type(int(values[0]))]
        elif procedure != "sp_unprepare":
            raise SqlError(2812, f"Could not find stored procedure '{procedure}'.")
        parts = [self._encode(result, DONE_IN_PROC, last=False) for result in results]
        return b"".join([*parts, protocol.return_status(), tail, done(DONE_PROC)])

    def _run(self, sql: str, parameters: Mapping[str, Any]) -> list[Result]:
        if found := _TYPE_INFO.match(sql):
            return [describe_type(int(found[1]))]
        return self.server.owner.database.run(sql, parameters, self._session)

    def _encode(self, result: Result, token: int, *, last: bool) -> bytes:
        began = b""
        if result.began:
            began = protocol.environment(8, b"\x08" + struct.pack("<Q", self._session.number))
        more = 0 if last else MORE
        if not result.columns:
            return began + done(token, more)
        try:
            rows = protocol.encode_rows(result.columns, result.rows)
        except (OverflowError, struct.error) as problem:
            raise SqlError(8115, f"Arithmetic overflow error: {problem}.") from None
        return (
            began
            + protocol.column_metadata(result.columns)
            + rows
            + done(token, more | COUNTED, len(result.rows))
        )

    def _error(self, problem: SqlError) -> bytes:
        return protocol.error(problem, self.server.owner.database.server_name)

    def _send(self, data: bytes) -> None:
        protocol.write_message(self.request, data)


def _bind(declared: str, parameters: list[Parameter]) -> dict[str, Any]:
    """Names the values that came by position after the declaration ``@P1 int,@P2 nvarchar(10)``."""
    names = [name.lower() for name in _DECLARED.findall(_BRACKETS.sub("", declared or ""))]
    return {
        parameter.name or name: parameter.value for name, parameter in zip(names, parameters, strict=False)
    }


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, owner: "TdsServer", port: int) -> None:
        self.owner = owner
        self._number = 50
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.append(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        """Cuts every connection: a driver must not wait for a server that is gone."""
        with self._lock:
            for request in self._open:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def next_number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number


class TdsServer:
    """Serves a database on 127.0.0.1 from `start` (or ``with``) to `stop`."""

    def __init__(self, database: Database, port: int = 0) -> None:
        """Port 0 takes a free one."""
        self.database = database
        self._wanted = port
        self._listener: _Listener | None = None
        self._hang = (0.0, 0)
        self._released = threading.Event()
        self.waiting = 0  # requests that `hang` holds back at this moment
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        if self._listener is None:
            message = "the server is not started"
            raise RuntimeError(message)
        return int(self._listener.server_address[1])

    def start(self) -> int:
        """Starts to listen; returns the port."""
        self._listener = _Listener(self, self._wanted)
        threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self.port

    def stop(self) -> None:
        """Stops listening and cuts the connections that are still open."""
        if self._listener is not None:
            self._listener.shutdown()
            self._listener.server_close()
            self._listener.hang_up()
            self._listener = None

    def hang(self, seconds: float, requests: int = 1) -> None:
        """Makes the next requests (batches and calls, not logins) wait.

        An attention ends the wait of its request, another ``hang`` (0 seconds, say) those of all.
        """
        with self._lock:
            self._released.set()
            self._released = threading.Event()
            self._hang = (seconds, requests if seconds else 0)

    def wait(self, session: Session) -> None:
        """Waits where `hang` says so."""
        with self._lock:
            (seconds, left), released = self._hang, self._released
            if left <= 0:
                return
            self._hang = (seconds, left - 1)
            self.waiting += 1
        end = time.monotonic() + seconds
        while time.monotonic() < end and not released.is_set() and not session.cancelled.wait(0.02):
            pass
        with self._lock:
            self.waiting -= 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
