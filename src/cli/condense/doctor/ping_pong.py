"""Measures one MPI rank's messages to another one, and says which library carries them.

The arguments are names of MPI libraries. Each rank prints one line of JSON behind a mark.
"""

import ctypes
import json
import os
import socket
import sys
import time

SIZE = 4 << 20
ROUNDS = 20
MPICH_WORLD, MPICH_BYTE = 0x44000000, 0x4C00010D


def load():
    """Return the first library that can be loaded, and its name."""
    failures = []
    for name in sys.argv[1:]:
        try:
            return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL), name
        except OSError as error:
            failures.append(str(error))
    raise OSError("; ".join(failures))


def mapped():
    """Return the paths of the libraries of the network and of MPI in this process."""
    wanted = ("libmpi", "libfabric", "libcxi", "libucp", "libpsm", "libopen-")
    paths = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split(None, 5)[-1].strip()
            name = os.path.basename(path)
            if name.startswith(wanted) and path not in paths:
                paths.append(path)
    return paths


def constants(mpi):
    """Return the communicator of all ranks, and the type of bytes."""
    try:
        world = ctypes.addressof(ctypes.c_char.in_dll(mpi, "ompi_mpi_comm_world"))
        byte = ctypes.addressof(ctypes.c_char.in_dll(mpi, "ompi_mpi_byte"))
        return ctypes.c_void_p(world), ctypes.c_void_p(byte), ctypes.c_void_p(0)
    except ValueError:
        status = ctypes.c_void_p(1)
        return ctypes.c_int(MPICH_WORLD), ctypes.c_int(MPICH_BYTE), status


class Ranks:
    """Two ranks that send bytes to each other."""

    def __init__(self, mpi):
        """Start MPI."""
        self.mpi = mpi
        self.world, self.byte, self.ignored = constants(mpi)
        if mpi.MPI_Init(None, None) != 0:
            raise OSError("MPI_Init failed")
        rank, size = ctypes.c_int(), ctypes.c_int()
        mpi.MPI_Comm_rank(self.world, ctypes.byref(rank))
        mpi.MPI_Comm_size(self.world, ctypes.byref(size))
        self.rank, self.size = rank.value, size.value

    def version(self):
        """Return the first words that the library says about itself."""
        text, length = ctypes.create_string_buffer(8192), ctypes.c_int()
        self.mpi.MPI_Get_library_version(text, ctypes.byref(length))
        lines = [" ".join(line.split()) for line in text.value.decode().splitlines()]
        return [line for line in lines if line][:1], [
            line.split(":", 1)[1].strip() for line in lines if line.startswith("MPICH Device:")
        ]

    def send(self, data):
        """Send bytes to the other rank."""
        self.mpi.MPI_Send(data, len(data), self.byte, 1 - self.rank, 7, self.world)

    def receive(self, data):
        """Receive bytes from the other rank."""
        self.mpi.MPI_Recv(data, len(data), self.byte, 1 - self.rank, 7, self.world, self.ignored)


def ping_pong(rank, send, receive, size, rounds):
    """Return the seconds of one message in one direction."""
    data = ctypes.create_string_buffer(size)
    start = 0.0
    for number in range(rounds + 2):
        if number == 2:
            start = time.perf_counter()
        for turn in (0, 1):
            if rank == turn:
                send(data)
            else:
                receive(data)
    return (time.perf_counter() - start) / rounds / 2


def through_sockets(ranks):
    """Return the seconds of one message through a socket, or None."""
    note = ctypes.create_string_buffer(256)
    if ranks.rank == 0:
        server = socket.socket()
        server.bind(("", 0))
        server.listen(1)
        server.settimeout(10)
        note.value = json.dumps([socket.gethostname(), server.getsockname()[1]]).encode()
        ranks.send(note)
        connection = server.accept()[0]
    else:
        ranks.receive(note)
        host, port = json.loads(note.value.decode())
        host = "127.0.0.1" if host == socket.gethostname() else host
        connection = socket.create_connection((host, port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(data):
        view = memoryview(data).cast("B")
        while view:
            count = connection.recv_into(view)
            if not count:
                raise OSError("the other rank has ended")
            view = view[count:]

    return ping_pong(ranks.rank, connection.sendall, receive, SIZE, ROUNDS)


def main():
    """Measure, and print what was found."""
    mpi, name = load()
    ranks = Ranks(mpi)
    version, device = ranks.version()
    found = {
        "rank": ranks.rank,
        "size": ranks.size,
        "host": socket.gethostname(),
        "library": name,
        "version": version[0] if version else "",
        "device": device[0] if device else "",
        "mapped": mapped(),
        "of_host": os.environ.get("CONDENSE_MPI_FILE", ""),
    }
    if ranks.size == 2:
        found["latency"] = ping_pong(ranks.rank, ranks.send, ranks.receive, 1, 200)
        found["seconds"] = ping_pong(ranks.rank, ranks.send, ranks.receive, SIZE, ROUNDS)
        found["bytes"] = SIZE
        try:
            found["socket_seconds"] = through_sockets(ranks)
        except OSError as error:
            found["socket_error"] = str(error)
    sys.stdout.write("\ncondense-mpi: " + json.dumps(found) + "\n")
    sys.stdout.flush()
    mpi.MPI_Finalize()


main()
