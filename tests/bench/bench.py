#!/usr/bin/env python3
"""Black-box benchmark of a DICOM archive (DICOMweb + DIMSE).

    bench.py --name X --http http://127.0.0.1:14201/dicom-web \
             --dimse 127.0.0.1:14202:ARCHIVE --pidfile PIDFILE \
             --corpus DIR --ingest DIR  WORKLOAD [WORKLOAD...]

--corpus: corpora that are (or by `load` become) the archive's whole content;
          the read workloads compute from their manifests what must come back.
--ingest: corpora which the ingest workloads send, each time with a fresh
          generation patched into UIDs and PatientID (see gen_corpus.py), so
          nothing is a duplicate. Use a separate, empty server for ingest.

Every workload first (reads) or afterwards (ingest) verifies counts and bytes;
what does not verify is reported as 'failed' with the reason, never as a number.
Each timed repetition holds an exclusive lock on --lock (flock), nothing else does.
Needs: pydicom, numpy, pillow (verification); pynetdicom for DIMSE-only targets;
wrk and DCMTK (storescu findscu getscu movescu) on PATH.
"""

import argparse
import contextlib
import fcntl
import functools
import hashlib
import http.client
import io
import json
import os
import random
import re
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

HERE = Path(__file__).resolve().parent
MP_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
MP_OCTET = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
MP_EXPLICIT = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
MP_JPEG = 'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50'
JSON = "application/dicom+json"


class Invalid(Exception):
    pass


def need(cond, why):
    if not cond:
        raise Invalid(why)


DCMTK = ("storescu", "findscu", "getscu", "movescu")


@functools.cache
def dcmtk(name):
    """Path of DCMTK's tool. pynetdicom puts scripts of the same names into a virtual environment's bin."""
    for d in os.environ["PATH"].split(os.pathsep):
        p = os.path.join(d, name)
        if os.access(p, os.X_OK) and b"$dcmtk" in subprocess.run([p, "--version"], capture_output=True).stdout:
            return p
    raise Invalid(f"DCMTK's {name} is not on PATH")


# ---------------------------------------------------------------- corpus
class Corpus:
    def __init__(self, dirs):
        self.items = []
        for d in dirs:
            for line in open(Path(d) / "manifest.jsonl", encoding="utf-8"):
                m = json.loads(line)
                m["abs"] = str(Path(d) / m["path"])
                self.items.append(m)
        self.by_study, self.by_series = defaultdict(list), defaultdict(list)
        for m in self.items:
            self.by_study[m["study"]].append(m)
            self.by_series[m["series"]].append(m)

    def kind(self, k):
        r = [m for m in self.items if m["kind"] == k]
        need(r, f"no {k} instance in --corpus")
        return r

    def big_ct(self):
        s = max((v for v in self.by_series.values() if v[0]["kind"] == "ct"), key=len, default=None)
        need(s, "no ct series in --corpus")
        return s


def patch(b, gen):
    if gen == 100:
        return b
    return b.replace(b".498.100.", b".498.%d." % gen).replace(b"BENCH100-", b"BENCH%d-" % gen)


def associate_rq(called):
    """A-ASSOCIATE-RQ that proposes Verification in Implicit VR Little Endian (PS3.8 9.3.2)."""

    def item(kind, value):
        return struct.pack(">BxH", kind, len(value)) + value

    context = b"\1\0\0\0" + item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2")
    user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.826.0.1.3680043.8.498.1")
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context) + item(0x50, user)
    body = struct.pack(">Hxx16s16s32x", 1, called.encode().ljust(16), b"BENCHIDLE".ljust(16)) + items
    return struct.pack(">BxI", 1, len(body)) + body


def read_pdu(peer):
    """Reads one PDU; its type."""

    def exactly(n):
        got = b""
        while len(got) < n:
            more = peer.recv(n - len(got))
            need(more, "the connection was closed")
            got += more
        return got

    kind, length = struct.unpack(">BxI", exactly(6))
    exactly(length)
    return kind


def pstr(s, gen):
    return s.replace(".498.100.", f".498.{gen}.").replace("BENCH100-", f"BENCH{gen}-")


def dataset_bytes(b):
    """The data set of a Part 10 file, without preamble and file meta group."""
    need(b[128:132] == b"DICM", "not a Part 10 file")
    return b[144 + struct.unpack_from("<I", b, 140)[0] :]


def sop_of(b):
    """SOP Instance UID of a Part 10 object from its file meta group."""
    end, pos = 144 + struct.unpack_from("<I", b, 140)[0], 144
    while pos < end:
        g, e, vr = struct.unpack_from("<HH2s", b, pos)
        if vr in (b"OB", b"UN"):
            n, h = struct.unpack_from("<I", b, pos + 8)[0], 12
        else:
            n, h = struct.unpack_from("<H", b, pos + 6)[0], 8
        if (g, e) == (2, 3):
            return b[pos + h : pos + h + n].rstrip(b"\0 ").decode()
        pos += h + n
    raise Invalid("no MediaStorageSOPInstanceUID")


# ---------------------------------------------------------------- server side
class Server:
    HZ = os.sysconf("SC_CLK_TCK")

    def __init__(self, pidfiles, owned=()):
        self.roots = [int(Path(f).read_text().split()[0]) for f in pidfiles]
        self.owned = tuple(os.path.realpath(d) for d in owned)  # a process that works in one of them is the server's
        self.unread = set()
        self.steal = []  # % of the machine's CPU time that the hypervisor took, per timed repetition

    @staticmethod
    def host_cpu():
        f = list(map(int, open("/proc/stat").readline().split()[1:9]))
        return sum(f), f[7]

    def tree(self):
        kids, todo = defaultdict(list), list(self.roots)
        for d in os.listdir("/proc"):
            if d.isdigit():
                try:
                    st = open(f"/proc/{d}/stat").read()
                    kids[int(st.rsplit(")", 1)[1].split()[1])].append(int(d))
                    cwd = os.readlink(f"/proc/{d}/cwd") if self.owned else ""
                    if any(cwd == o or cwd.startswith(o + "/") for o in self.owned):
                        todo.append(int(d))  # e.g. a postmaster that outlived the server which started it
                except OSError:
                    pass
        out = set()
        while todo:
            p = todo.pop()
            if p not in out:
                out.add(p)
                todo += kids[p]
        return out

    def cpu(self):
        t = 0
        for p in self.tree():
            try:
                f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
                t += sum(map(int, f[11:15]))  # own + reaped children
            except OSError:
                pass
        return t / self.HZ

    def shares(self):
        """Seconds of CPU by process, to the nanosecond: ticks are too coarse for one that only wakes now and then."""
        out = {}
        for p in self.tree():
            try:
                f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
                own = sum(int(open(t).read().split()[0]) for t in Path(f"/proc/{p}/task").glob("*/schedstat")) / 1e9
                words = open(f"/proc/{p}/cmdline").read().replace("\0", " ").split()
                name = open(f"/proc/{p}/comm").read().strip()
                if words[:1] == ["postgres:"]:
                    name = "postgres " + (
                        "connections" if words[-1].startswith("idle") or "[local]" in words else " ".join(words[1:3])
                    )
                out[p] = name, own + sum(map(int, f[13:15])) / self.HZ  # and reaped children
            except OSError:
                pass
        return out

    def pss(self):
        t = 0
        for p in self.tree():
            try:
                m = re.search(r"^Pss:\s+(\d+)", open(f"/proc/{p}/smaps_rollup").read(), re.M)
                t += int(m[1])
            except PermissionError:
                self.unread.add(p)  # of another user: run the benchmark as root
            except (OSError, TypeError):
                pass
        return t / 1024

    def own_memory(self):
        """MiB of anonymous pages, and of what is shared once: cheap to ask for, and it grows when `pss` does."""
        anonymous, shared = 0, [0]
        for p in self.tree():
            try:
                fields = dict(re.findall(r"^(RssAnon|RssShmem):\s+(\d+)", open(f"/proc/{p}/status").read(), re.M))
                anonymous += int(fields["RssAnon"])
                shared.append(int(fields["RssShmem"]))
            except (OSError, KeyError):
                pass
        return (anonymous + max(shared)) / 1024

    @contextmanager
    def watch(self):
        """Yields a dict that afterwards has cpu_s, pss_peak_mib, client_cpu_s, wall_s. To ask the kernel for the memory of 25
        processes takes 16 ms, of one process 1 ms: five times a second that would slow down the server with more processes. So it
        is asked every two seconds, and five times a second how much was added since."""
        r, stop = {}, threading.Event()
        peak = [self.pss()]

        def run():
            while True:
                known, base = peak[-1], self.own_memory()
                for _ in range(10):
                    if stop.wait(0.2):
                        return
                    peak.append(known + self.own_memory() - base)
                peak.append(self.pss())

        th = threading.Thread(target=run, daemon=True)
        c0, k0, h0 = self.cpu(), client_cpu(), self.host_cpu()
        th.start()
        t0 = time.perf_counter()
        try:
            yield r
        finally:
            r["wall_s"] = r.get("wall_s") or time.perf_counter() - t0
            r["cpu_s"], r["client_cpu_s"] = self.cpu() - c0, client_cpu() - k0
            h1 = self.host_cpu()
            self.steal.append(100 * (h1[1] - h0[1]) / max(1, h1[0] - h0[0]))
            stop.set()
            th.join()
            peak.append(self.pss())
            r["pss_peak_mib"] = round(max(peak), 1)
            r["pss_start_mib"] = round(peak[0], 1)
        need(all(os.path.exists(f"/proc/{p}") for p in self.roots), "a server process of --pidfile is gone")
        need(not self.unread, f"memory of processes {sorted(self.unread)} cannot be read: run as root")


def client_cpu():
    a, b = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return a.ru_utime + a.ru_stime + b.ru_utime + b.ru_stime


# ---------------------------------------------------------------- http client
class Http:
    def __init__(self, base, header=None, timeout=120):
        u = urlsplit(base)
        self.host, self.port, self.root = u.hostname, u.port, u.path.rstrip("/")
        self.h = dict([[x.strip() for x in header.split(":", 1)]]) if header else {}
        self.timeout, self.c = timeout, None

    def clone(self):
        n = object.__new__(Http)
        n.__dict__.update(self.__dict__)
        n.c = None
        return n

    def request(self, method, path, body=None, headers={}, want_ttfb=False):
        for attempt in (0, 1):
            fresh = self.c is None
            if fresh:
                self.c = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
            try:
                t0 = time.perf_counter()
                self.c.request(method, self.root + path, body, {**self.h, **headers})
                r = self.c.getresponse()
                ttfb = time.perf_counter() - t0
                data = r.read()
                if r.will_close:
                    self.c.close()
                    self.c = None
                return (r.status, r.headers, data, ttfb) if want_ttfb else (r.status, r.headers, data)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.c = None  # an idle keep-alive connection that the server had closed
                if fresh or attempt:
                    raise

    def get(self, path, accept):
        st, h, b = self.request("GET", path, headers={"Accept": accept})
        need(st == 200, f"GET {path.split('?')[0].count('/')}-level: HTTP {st}: {b[:160]!r}")
        return h, b


class RawPost:
    """POSTs prepared bytes on a keep-alive socket at ~0.05 ms of client CPU (http.client: ~0.5 ms)."""

    def __init__(self, http):
        self.http, self.s = http, None

    def prepare(self, body, headers):
        h = {"Host": f"{self.http.host}:{self.http.port}", **self.http.h, **headers, "Content-Length": str(len(body))}
        return (
            f"POST {self.http.root}/studies HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in h.items()) + "\r\n"
        ).encode() + body

    def post(self, req):
        for attempt in (0, 1):
            fresh = self.s is None
            if fresh:
                self.s = socket.create_connection((self.http.host, self.http.port), timeout=self.http.timeout)
                self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self.s.sendall(req)
                buf = self.s.recv(65536)
                if not buf:
                    raise ConnectionResetError("closed before the answer")
                break
            except (BrokenPipeError, ConnectionResetError):
                self.s.close()
                self.s = None
                if fresh or attempt:
                    raise
        while b"\r\n\r\n" not in buf:
            buf += self.more()
        head, _, body = buf.partition(b"\r\n\r\n")
        low = head.lower()
        status = int(head[9:12])
        if status == 100:
            raise Invalid("unexpected 100 Continue")
        m = re.search(rb"content-length:\s*(\d+)", low)
        if m:
            while len(body) < int(m[1]):
                body += self.more()
        elif b"transfer-encoding: chunked" in low:
            while not body.endswith(b"0\r\n\r\n"):
                body += self.more()
            raw, body = body, b""
            while raw:
                n, _, raw = raw.partition(b"\r\n")
                body, raw = body + raw[: int(n, 16)], raw[int(n, 16) + 2 :]
                if int(n, 16) == 0:
                    break
        if b"connection: close" in low:
            self.s.close()
            self.s = None
        return status, None, body

    def close(self):
        if self.s is not None:
            self.s.close()
            self.s = None

    def more(self):
        b = self.s.recv(65536)
        need(b, "connection closed in the middle of an answer")
        return b


def parts(headers, body):
    m = re.search(r'boundary="?([^";]+)"?', headers.get("Content-Type", ""))
    need(m, "response is not multipart: " + str(headers.get("Content-Type")))
    bits = body.split(b"--" + m[1].encode())
    need(bits[-1].startswith(b"--"), "multipart response is not terminated")
    out = []
    for b in bits[1:-1]:
        h, _, v = b.partition(b"\r\n\r\n")
        out.append(v[:-2])
    return out


def stow_body(blobs):
    bnd = b"benchBOUNDARYbench7d1f"
    out = []
    for b in blobs:
        out += [b"--" + bnd + b"\r\nContent-Type: application/dicom\r\n\r\n", b, b"\r\n"]
    return b"".join(out) + b"--" + bnd + b"--\r\n", {
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=' + bnd.decode(),
        "Accept": JSON,
    }


def check_stow(resp, n):
    st, h, b = resp
    need(st in (200, 202), f"STOW: HTTP {st}: {b[:200]!r}")
    j = json.loads(b)
    j = j[0] if isinstance(j, list) else j
    ok = len(j.get("00081199", {}).get("Value", []))
    bad = len(j.get("00081198", {}).get("Value", []))
    need(ok == n and not bad, f"STOW: {ok} stored, {bad} failed of {n}")


def check_all(http, reqs, res, again=0):
    """Checks the response to each of `reqs`. Where one is wrong, its request is sent up to `again` times more, which is said; how often in all."""
    sent_again = 0
    for (req, n), r in zip(reqs, res):
        for left in range(again, -1, -1):
            try:
                check_stow(r, n)
                break
            except Invalid as e:
                if not left:
                    raise
                print(f"{e}: sent again, {left} tries left", file=sys.stderr, flush=True)
                sent_again += 1
                post = RawPost(http)
                r = post.post(req)
                post.close()
    return sent_again


# ---------------------------------------------------------------- bench
class Bench:
    def __init__(self, o):
        self.o, self.srv = o, Server(o.pidfile, o.owned)
        self.http = Http(o.http, o.header) if o.http else None
        if o.dimse:
            self.dhost, self.dport, self.aet = o.dimse.split(":")
            [dcmtk(x) for x in DCMTK]
        self.ttfb = []
        self.sent_again = 0
        self.corpus = Corpus(o.corpus)
        self.ingest = [Corpus([d]) for d in o.ingest]
        self.gen = o.gen
        self.rows = []
        self.tmp = Path(tempfile.mkdtemp(prefix="bench-", dir=o.tmp))
        self.out = open(o.out, "a") if o.out else None

    # -- plumbing
    @contextmanager
    def lock(self):
        if not self.o.lock:
            yield
            return
        with open(self.o.lock, "a") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield

    def emit(self, workload, unit, values=(), failed=None, **extra):
        r = dict(peer=self.o.name, workload=workload, unit=unit)
        if failed:
            r.update(status="failed", reason=failed)
        else:
            v = sorted(values)
            r.update(status="ok", min=v[0], median=statistics.median(v), max=v[-1], n=len(v))
            for k in ("min", "median", "max"):
                r[k] = float(f"{r[k]:.4g}")
        r.update({k: (float(f"{x:.4g}") if isinstance(x, float) else x) for k, x in extra.items()})
        if self.srv.steal:
            r["steal_pct"] = round(statistics.median(self.srv.steal), 1)
            self.srv.steal = []
        self.rows.append(r)
        line = json.dumps(r, ensure_ascii=False)
        print(line, flush=True)
        if self.out:
            self.out.write(line + "\n")
            self.out.flush()

    def guard(self, workload, unit, fn):
        try:
            fn()
        except Exception as e:
            self.emit(workload, unit, failed=f"{e}" if isinstance(e, Invalid) else f"{type(e).__name__}: {e}"[:300])

    def next_gen(self):
        self.gen += 1
        need(self.gen < 1000, "out of generations")
        return self.gen

    # -- verification through the archive's own interfaces
    def stored_sops(self, items, gen):
        got = set()
        want_series = {pstr(m["series"], gen): pstr(m["study"], gen) for m in items}
        if self.http:
            for st in sorted(set(want_series.values())):
                _, b = self.http.get(f"/studies/{st}/instances", JSON)
                got |= {x["00080018"]["Value"][0] for x in json.loads(b or b"[]")}
        else:
            from pydicom.dataset import Dataset
            from pynetdicom import AE

            ae = AE("BENCHVERIFY")
            ae.add_requested_context("1.2.840.10008.5.1.4.1.2.2.1")
            a = ae.associate(self.dhost, int(self.dport), ae_title=self.aet)
            need(a.is_established, "verification association refused")
            for se, st in want_series.items():
                q = Dataset()
                q.QueryRetrieveLevel, q.StudyInstanceUID, q.SeriesInstanceUID, q.SOPInstanceUID = "IMAGE", st, se, ""
                for s, d in a.send_c_find(q, "1.2.840.10008.5.1.4.1.2.2.1"):
                    if d is not None:
                        got.add(d.SOPInstanceUID)
            a.release()
        return got

    def verify_stored(self, items, gen, sample=2):
        want = {pstr(m["sop"], gen) for m in items}
        got = self.stored_sops(items, gen)
        need(want <= got, f"archive lists {len(want & got)} of the {len(want)} instances sent")
        for m in (items[0], items[-1])[:sample]:
            src = dataset_bytes(patch(Path(m["abs"]).read_bytes(), gen))
            if self.http:
                h, b = self.http.get(
                    "/studies/{}/series/{}/instances/{}".format(
                        *tuple(pstr(m[k], gen) for k in ("study", "series", "sop"))
                    ),
                    MP_DICOM,
                )
                p = parts(h, b)
                need(len(p) == 1 and dataset_bytes(p[0]) == src, "stored data set differs from the one sent")
            else:
                d = self.fresh("v")
                self.getscu(pstr(m["study"], gen), d)
                hit = [f for f in d.iterdir() if sop_of(f.read_bytes()) == pstr(m["sop"], gen)]
                need(hit and dataset_bytes(hit[0].read_bytes()) == src, "stored data set differs from the one sent")

    def fresh(self, name):
        d = self.tmp / name
        shutil.rmtree(d, ignore_errors=True)
        d.mkdir(parents=True)
        return d

    def run(self, cmd, **kw):
        if cmd[0] in DCMTK:
            cmd = [dcmtk(cmd[0]), *cmd[1:]]
        p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, **kw)
        need(p.returncode == 0, f"{cmd[0]} exit {p.returncode}: {p.stdout[-200:].decode('utf8', 'replace')}")
        return p.stdout

    # -- ingest
    def stow_req(self, blobs):
        return RawPost(self.http).prepare(*stow_body(blobs))

    def post_all(self, reqs, clients, again=0):
        """reqs: [(request bytes, n)]; returns (seconds, latencies); verifies each response, see check_all."""
        res, lat, errs = [None] * len(reqs), [0.0] * len(reqs), []
        it, il = iter(range(len(reqs))), threading.Lock()

        def work():
            h = RawPost(self.http)
            while True:
                with il:
                    i = next(it, None)
                if i is None or errs:
                    return
                t = time.perf_counter()
                try:
                    res[i] = h.post(reqs[i][0])
                except Exception as e:
                    errs.append(e)
                    return
                lat[i] = time.perf_counter() - t

        th = [threading.Thread(target=work) for _ in range(clients)]
        t0 = time.perf_counter()
        [t.start() for t in th]
        [t.join() for t in th]
        dt = time.perf_counter() - t0
        if errs:
            raise errs[0]
        t0 = time.perf_counter()
        if sent_again := check_all(self.http, reqs, res, again):
            self.sent_again += sent_again
            dt += time.perf_counter() - t0
        return dt, sorted(lat)

    def stow(self, clients, per):
        for c in self.ingest:
            kind = c.items[0]["kind"]
            name = f"stow_{'serial' if clients == 1 else f'parallel{clients}'}_{per}perreq_{kind}"

            def go():
                items = c.items[: self.o.max_ingest] if self.o.max_ingest else c.items
                ips, mbs, cpu, ccpu, p95, pss = [], [], [], [], [], []
                for _ in range(self.o.repeat):
                    g = self.next_gen()
                    blobs = [patch(Path(m["abs"]).read_bytes(), g) for m in items]
                    reqs = [
                        (self.stow_req(blobs[i : i + per]), len(blobs[i : i + per])) for i in range(0, len(blobs), per)
                    ]
                    nbytes = sum(map(len, blobs))
                    del blobs
                    with self.lock(), self.srv.watch() as w:
                        dt, lat = self.post_all(reqs, clients)
                    self.verify_stored(items, g)
                    ips.append(len(items) / dt)
                    mbs.append(nbytes / dt / 1e6)
                    cpu.append(w["cpu_s"] / len(items) * 1e3)
                    ccpu.append(w["client_cpu_s"] / len(items) * 1e3)
                    p95.append(lat[int(len(lat) * 0.95)] * 1e3)
                    pss.append(w["pss_peak_mib"])
                self.emit(
                    name,
                    "inst/s",
                    ips,
                    mb_s=statistics.median(mbs),
                    server_cpu_ms_per_inst=statistics.median(cpu),
                    client_cpu_ms_per_inst=statistics.median(ccpu),
                    p95_ms_per_req=statistics.median(p95),
                    pss_peak_mib=max(pss),
                    instances=len(items),
                )

            self.guard(name, "inst/s", go)

    def w_stow_serial(self):
        self.stow(1, 1)
        self.stow(1, 50)

    def w_stow_parallel(self):
        self.stow(8, 1)
        self.stow(8, 50)

    def cstore(self, assoc):
        for c in self.ingest:
            kind = c.items[0]["kind"]
            name = f"cstore_{assoc}assoc_{kind}" + ("_nagle" if self.o.nagle else "")

            def go():
                items = c.items[: self.o.max_ingest] if self.o.max_ingest else c.items
                ips, mbs, cpu, ccpu, pss = [], [], [], [], []
                for _ in range(self.o.repeat):
                    g = self.next_gen()
                    top = self.fresh("cstore")
                    nbytes = 0
                    for i, m in enumerate(items):
                        d = top / str(i % assoc)
                        d.mkdir(exist_ok=True)
                        b = patch(Path(m["abs"]).read_bytes(), g)
                        nbytes += len(b)
                        (d / f"{i:06d}.dcm").write_bytes(b)
                    with self.lock(), self.srv.watch() as w:
                        t0 = time.perf_counter()
                        ps = [
                            subprocess.Popen(
                                [
                                    dcmtk("storescu"),
                                    "-aec",
                                    self.aet,
                                    "-R",
                                    "-xy",
                                    "-pdu",
                                    "131072",
                                    "+sd",
                                    "+r",
                                    self.dhost,
                                    self.dport,
                                    str(top / str(k)),
                                ],
                                stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT,
                            )
                            for k in range(assoc)
                        ]
                        outs = [p.communicate(timeout=300)[0] for p in ps]
                        dt = time.perf_counter() - t0
                    need(all(p.returncode == 0 for p in ps), "storescu: " + str([x[-150:] for x in outs]))
                    self.verify_stored(items, g)
                    ips.append(len(items) / dt)
                    mbs.append(nbytes / dt / 1e6)
                    cpu.append(w["cpu_s"] / len(items) * 1e3)
                    ccpu.append(w["client_cpu_s"] / len(items) * 1e3)
                    pss.append(w["pss_peak_mib"])
                shutil.rmtree(top)
                self.emit(
                    name,
                    "inst/s",
                    ips,
                    mb_s=statistics.median(mbs),
                    server_cpu_ms_per_inst=statistics.median(cpu),
                    client_cpu_ms_per_inst=statistics.median(ccpu),
                    pss_peak_mib=max(pss),
                    instances=len(items),
                )

            self.guard(name, "inst/s", go)

    def w_cstore_1assoc(self):
        self.cstore(1)

    def w_cstore_4assoc(self):
        self.cstore(4)

    def w_load(self):
        """Sends --load corpora as they are (generation 100); throughput per chunk of 2000."""

        def go():
            items = Corpus(self.o.load).items
            v, cpu = [], []
            n, t = 0, 0.0
            if self.http:
                for k in range(0, len(items), 2000):
                    chunk, reqs, cur, size = items[k : k + 2000], [], [], 0
                    for m in chunk:
                        cur.append(Path(m["abs"]).read_bytes())
                        size += len(cur[-1])
                        if len(cur) == 50 or size > 40e6:
                            reqs.append((self.stow_req(cur), len(cur)))
                            cur, size = [], 0
                    if cur:
                        reqs.append((self.stow_req(cur), len(cur)))
                    with self.lock(), self.srv.watch() as w:
                        dt, _ = self.post_all(reqs, 8, again=2)
                    v.append(len(chunk) / dt)
                    cpu.append(w["cpu_s"] / len(chunk) * 1e3)
                    n, t = n + len(chunk), t + dt
            else:
                self.fresh("load")
                for k in range(0, len(items), 2000):
                    d = self.fresh("load/x")
                    for i, m in enumerate(items[k : k + 2000]):
                        os.symlink(os.path.abspath(m["abs"]), d / f"{i:06d}.dcm")
                    with self.lock(), self.srv.watch() as w:
                        t0 = time.perf_counter()
                        self.run(
                            [
                                "storescu",
                                "-aec",
                                self.aet,
                                "-R",
                                "-xy",
                                "-pdu",
                                "131072",
                                "+sd",
                                "+r",
                                self.dhost,
                                self.dport,
                                str(d),
                            ]
                        )
                        dt = time.perf_counter() - t0
                    nn = len(items[k : k + 2000])
                    v.append(nn / dt)
                    cpu.append(w["cpu_s"] / nn * 1e3)
                    n, t = n + nn, t + dt
            studies = sorted({m["study"] for m in items})
            pick = set(studies[:: max(1, len(studies) // 20)])
            self.verify_stored([m for m in items if m["study"] in pick], 100)
            self.emit(
                "load",
                "inst/s",
                v,
                overall=n / t,
                first=v[0],
                last=v[-1],
                instances=n,
                **({"requests_sent_again": self.sent_again} if self.sent_again else {}),
                server_cpu_ms_per_inst_first=cpu[0],
                server_cpu_ms_per_inst_last=cpu[-1],
                pss_mib=self.srv.pss(),
            )

        self.guard("load", "inst/s", go)

    # -- generic timed GET
    def timed_get(self, name, paths, accept, t1, header=None, **extra):
        """paths have been verified. wrk when one request is quick, else a python loop. `header`: one more header line."""
        pf = self.tmp / "paths"
        pf.write_text("\n".join(self.http.root + p for p in paths) + "\n")
        if self.ttfb:
            extra["ttfb_ms"] = statistics.median(self.ttfb)
        for conc in self.o.conc:
            quick = t1 < 0.25 and t1 * conc * 5 < self.o.seconds  # enough completions for wrk's fixed window

            def go():
                rps, lat, mbs, cpu, pss, cnt = [], defaultdict(list), [], [], [], 0
                for _ in range(self.o.repeat):
                    with self.lock(), self.srv.watch() as w:
                        r = (
                            self.wrk(pf, accept, conc, header)
                            if quick
                            else self.pyloop(paths, accept, conc, t1, header)
                        )
                    rps.append(r["requests"] / r["us"] * 1e6)
                    mbs.append(r["bytes"] / r["us"])
                    cnt += r["requests"]
                    for k in ("p50", "p95", "p99"):
                        lat[k].append(r[k])
                    cpu.append(w["cpu_s"] / r["requests"] * 1e3)
                    pss.append(w["pss_peak_mib"])
                self.emit(
                    f"{name}_c{conc}",
                    "req/s",
                    rps,
                    **{f"{k}_ms": statistics.median(v) for k, v in lat.items()},
                    mb_s=statistics.median(mbs),
                    server_cpu_ms_per_req=statistics.median(cpu),
                    pss_peak_mib=max(pss),
                    requests=cnt,
                    client="wrk" if quick else "python",
                    **extra,
                )

            self.guard(f"{name}_c{conc}", "req/s", go)

    def wrk(self, pf, accept, conc, header=None):
        env = dict(os.environ, BENCH_PATHS=str(pf), BENCH_ACCEPT=accept, BENCH_HEADER=header or self.o.header or "")
        out = self.run(
            [
                "wrk",
                "-t1",
                f"-c{conc}",
                f"-d{self.o.seconds}s",
                "--timeout",
                "30s",
                "-s",
                str(HERE / "wrk.lua"),
                f"http://{self.http.host}:{self.http.port}",
            ],
            env=env,
        )
        r = json.loads(out.strip().splitlines()[-1])
        need(r["requests"] > 0, "wrk: no request completed")
        bad = {k: r[k] for k in ("bad_status", "connect", "timeout", "write") if r[k]}
        need(not bad, f"wrk errors {bad} of {r['requests']}")
        need(r["read"] <= max(1, r["requests"] // 1000), f"wrk read errors {r['read']} of {r['requests']}")
        return r

    def pyloop(self, paths, accept, conc, t1, header=None):
        more = dict([[x.strip() for x in header.split(":", 1)]]) if header else {}
        per = max(1, min(20, int(self.o.seconds * 2 / t1 / conc)))
        if conc == 1:
            per = max(3, per)
        lat, nbytes, errs = [], [0], []

        def work(k):
            h = self.http.clone()
            for i in range(per):
                try:
                    t = time.perf_counter()
                    st, _, b = h.request("GET", paths[(k + i * conc) % len(paths)], headers={"Accept": accept, **more})
                    need(st == 200, f"HTTP {st}")
                    lat.append((time.perf_counter() - t) * 1e3)
                    nbytes[0] += len(b)
                except Exception as e:
                    errs.append(e)
                    return

        t0 = time.perf_counter()
        th = [threading.Thread(target=work, args=(k,)) for k in range(conc)]
        [t.start() for t in th]
        [t.join() for t in th]
        us = (time.perf_counter() - t0) * 1e6
        if errs:
            raise errs[0]
        s = sorted(lat)
        q = lambda f: s[min(len(s) - 1, int(len(s) * f))]
        return dict(requests=len(s), us=us, bytes=nbytes[0], p50=q(0.5), p95=q(0.95), p99=q(0.99))

    def checked(self, path, accept):
        self.http.get(path, accept)  # warm
        t, self.ttfb = time.perf_counter(), []
        h, b = self.http.get(path, accept)
        dt = time.perf_counter() - t
        if dt < 5:
            self.ttfb = [
                self.http.request("GET", path, headers={"Accept": accept}, want_ttfb=True)[3] * 1e3 for _ in range(5)
            ]
        return h, b, dt

    # -- QIDO
    def studies(self):
        return {s: v[0] for s, v in self.corpus.by_study.items()}

    def w_qido_studies(self):
        st = self.studies()
        pids = sorted({m["patient_id"] for m in st.values()})
        pids = pids[:: max(1, len(pids) // 50)]
        variants = {
            "wildcard": (["PatientName=S*"], lambda m: m["patient_name"].casefold().startswith("s")),
            "daterange": (["StudyDate=20220101-20220630"], lambda m: "20220101" <= m["study_date"] <= "20220630"),
            "patientid": ([f"PatientID={quote(p)}" for p in pids], None),
        }
        for v, (qs, pred) in variants.items():

            def go():
                paths = [f"/studies?{q}&limit=100" for q in qs]
                t1 = sz = 0
                for q, p in zip(qs, paths):
                    f = pred or (lambda m, q=q: m["patient_id"] == q.split("=")[1])
                    want = {s for s, m in st.items() if f(m)}
                    need(want, "corpus has no study that matches")
                    _, b, t1 = self.checked(p, JSON)
                    j = json.loads(b)
                    got = {x["0020000D"]["Value"][0] for x in j}
                    need(len(got) == len(j), "duplicate studies in the answer")
                    need(
                        got <= want and len(got) == min(100, len(want)),
                        f"{p}: {len(got & want)} right, "
                        f"{len(got - want)} wrong, expected {min(100, len(want))} of {len(want)}",
                    )
                    for x in j:
                        m = st[x["0020000D"]["Value"][0]]
                        need(x["00100020"]["Value"][0] == m["patient_id"], "wrong PatientID in answer")
                        need(x["00080020"]["Value"][0] == m["study_date"], "wrong StudyDate in answer")
                        nm = x["00100010"]["Value"][0]["Alphabetic"]
                        need(
                            nm.rstrip("^") == m["patient_name"].split("=")[0].rstrip("^"),
                            f"wrong PatientName: {nm!r} for {m['patient_name']!r}",
                        )
                    sz = len(b)
                self.timed_get(
                    f"qido_studies_{v}",
                    paths,
                    JSON,
                    t1,
                    results=len(j),
                    body_bytes=sz,
                    archive_studies=len(st),
                    archive_instances=len(self.corpus.items),
                )

            self.guard(f"qido_studies_{v}", "req/s", go)

    def w_qido_instances(self):
        def go():
            ser = self.corpus.big_ct()
            p = f"/studies/{ser[0]['study']}/series/{ser[0]['series']}/instances?includefield=all"
            _, b, t1 = self.checked(p, JSON)
            j = json.loads(b)
            need(
                {x["00080018"]["Value"][0] for x in j} == {m["sop"] for m in ser} and len(j) == len(ser),
                f"{len(j)} instances, expected {len(ser)}",
            )
            self.timed_get(
                "qido_instances",
                [p],
                JSON,
                t1,
                results=len(j),
                body_bytes=len(b),
                attributes_per_result=len(j[0]),
                has_image_position="00200032" in j[0],
                corpus_attributes=ser[0]["n_attr"],
            )

        self.guard("qido_instances", "req/s", go)

    # -- WADO
    def ipath(self, m):
        return f"/studies/{m['study']}/series/{m['series']}/instances/{m['sop']}"

    def w_wado_study(self):
        def go():
            ser = self.corpus.big_ct()
            items = self.corpus.by_study[ser[0]["study"]]
            p, total = f"/studies/{ser[0]['study']}", 0
            src = {m["sop"]: m for m in items}
            tt, ttfb, cpu, pss, p0 = [], [], [], [], []
            for k in range(self.o.repeat):
                with self.lock(), self.srv.watch() as w:
                    t = time.perf_counter()
                    st, h, b, first = self.http.request("GET", p, headers={"Accept": MP_DICOM}, want_ttfb=True)
                    dt = time.perf_counter() - t
                need(st == 200, f"HTTP {st} {b[:100]!r}")
                ps = parts(h, b)
                need(len(ps) == len(items), f"{len(ps)} parts, expected {len(items)}")
                need({sop_of(x) for x in ps} == set(src), "wrong SOP Instance UIDs")
                for x in ps[:: 1 if k == 0 else 37]:
                    need(
                        dataset_bytes(x) == dataset_bytes(Path(src[sop_of(x)]["abs"]).read_bytes()), "data set differs"
                    )
                tt.append(len(b) / dt / 1e6)
                ttfb.append(first * 1e3)
                cpu.append(w["cpu_s"] / len(items) * 1e3)
                pss.append(w["pss_peak_mib"])
                p0.append(w["pss_start_mib"])
                total = len(b)
                del ps, b
            self.emit(
                "wado_study",
                "MB/s",
                tt,
                inst_s=statistics.median(tt) * 1e6 / total * len(items),
                ttfb_ms=statistics.median(ttfb),
                server_cpu_ms_per_inst=statistics.median(cpu),
                pss_start_mib=min(p0),
                pss_peak_mib=max(pss),
                bytes=total,
                instances=len(items),
            )

        self.guard("wado_study", "MB/s", go)

    def w_wado_instance(self):
        def go():
            ser = self.corpus.big_ct()
            for m in ser[::50]:
                h, b, t1 = self.checked(self.ipath(m), MP_DICOM)
                p = parts(h, b)
                need(
                    len(p) == 1 and dataset_bytes(p[0]) == dataset_bytes(Path(m["abs"]).read_bytes()),
                    "data set differs",
                )
            self.timed_get("wado_instance", [self.ipath(m) for m in ser], MP_DICOM, t1, body_bytes=len(b))

        self.guard("wado_instance", "req/s", go)

    def w_wado_metadata(self):
        def go():
            import pydicom

            ser = self.corpus.big_ct()
            items = self.corpus.by_study[ser[0]["study"]]
            p = f"/studies/{ser[0]['study']}/metadata"
            _, b, t1 = self.checked(p, JSON)
            j = json.loads(b)
            by = {x["00080018"]["Value"][0]: x for x in j}
            need(len(j) == len(items) and set(by) == {m["sop"] for m in items}, f"{len(j)} of {len(items)} instances")
            m = ser[7]
            ds = pydicom.dcmread(m["abs"], stop_before_pixels=True)
            tags = {f"{e.tag:08X}" for e in ds}
            miss = tags - set(by[m["sop"]])
            ipp = by[m["sop"]].get("00200032", {}).get("Value")
            complete = not miss and ipp and [float(x) for x in ipp] == [float(x) for x in ds.ImagePositionPatient]
            self.timed_get(
                "wado_metadata" + ("" if complete else "_PARTIAL"),
                [p],
                JSON,
                t1,
                body_bytes=len(b),
                attributes=len(by[m["sop"]]),
                missing_attributes=len(miss),
                instances=len(j),
            )

        self.guard("wado_metadata", "req/s", go)

    def w_wado_metadata_gzip(self):
        """The same metadata for a client that takes gzip; the inflated body must be the plain one."""

        def go():
            import gzip

            ser = self.corpus.big_ct()
            p = f"/studies/{ser[0]['study']}/metadata"
            plain = self.http.get(p, JSON)[1]
            h = {"Accept": JSON, "Accept-Encoding": "gzip"}
            self.http.request("GET", p, headers=h)
            t = time.perf_counter()
            st, got, b = self.http.request("GET", p, headers=h)
            t1 = time.perf_counter() - t
            need(st == 200, f"HTTP {st}")
            inflated = gzip.decompress(b) if got.get("Content-Encoding") == "gzip" else b
            need(json.loads(inflated) == json.loads(plain), "the inflated body differs from the plain one")
            self.timed_get(
                "wado_metadata_gzip",
                [p],
                JSON,
                t1,
                header="Accept-Encoding: gzip",
                body_bytes=len(b),
                encoding=got.get("Content-Encoding", "none"),
            )

        self.guard("wado_metadata_gzip", "req/s", go)

    def w_wado_study_curl(self):
        """A whole study read by curl to a file in --tmp; the bytes are verified once, each run by length and parts."""

        def go():
            ser = self.corpus.big_ct()
            items = self.corpus.by_study[ser[0]["study"]]
            url = f"http://{self.http.host}:{self.http.port}{self.http.root}/studies/{ser[0]['study']}"
            src = {m["sop"]: m for m in items}
            out, head = self.tmp / "study.bin", self.tmp / "study.head"
            mbs, cpu, pss = [], [], []
            for k in range(self.o.repeat):
                with self.lock(), self.srv.watch() as w:
                    t = time.perf_counter()
                    self.run(
                        ["curl", "-sS", "--fail", "-H", f"Accept: {MP_DICOM}", "-D", str(head), "-o", str(out), url]
                    )
                    dt = time.perf_counter() - t
                h = dict(x.split(": ", 1) for x in head.read_text().splitlines() if ": " in x)
                h = {"Content-Type": next(v for n, v in h.items() if n.lower() == "content-type")}
                b = out.read_bytes()
                ps = parts(h, b)
                need(
                    len(ps) == len(items) and {sop_of(x) for x in ps} == set(src),
                    f"{len(ps)} parts, expected {len(items)}",
                )
                for x in ps[:: 1 if k == 0 else 37]:
                    need(
                        dataset_bytes(x) == dataset_bytes(Path(src[sop_of(x)]["abs"]).read_bytes()), "data set differs"
                    )
                mbs.append(len(b) / dt / 1e6)
                cpu.append(w["cpu_s"] / len(items) * 1e3)
                pss.append(w["pss_peak_mib"])
                del b, ps
            self.emit(
                "wado_study_curl",
                "MB/s",
                mbs,
                server_cpu_ms_per_inst=statistics.median(cpu),
                pss_peak_mib=max(pss),
                instances=len(items),
            )

        self.guard("wado_study_curl", "MB/s", go)

    def big_file(self):
        """A multi-frame instance of --big-mib MiB: its data set without pixels, and its path."""
        import pydicom
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

        mib = self.o.big_mib
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.2"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
        ds.PatientName, ds.PatientID, ds.Modality = "Big^Object", "BENCHBIG", "OT"
        ds.Rows = ds.Columns = 1024
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.NumberOfFrames = 1, "MONOCHROME2", mib
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelRepresentation = 7, 0
        path = self.tmp / "big.dcm"
        pydicom.dcmwrite(path, ds, enforce_file_format=True)
        piece = os.urandom(1 << 20)
        with open(path, "ab") as f:
            f.write(struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, mib << 20))
            for k in range(mib):
                f.write(struct.pack("<I", k) + piece[4:])
        return ds, path

    @staticmethod
    def need_same(path, out, skip=None):
        """The two files hold the same bytes; `skip`: how much of each comes before what is compared."""
        with open(path, "rb") as a, open(out, "rb") as b:
            if skip:
                a.seek(skip[0]), b.seek(skip[1])
            while True:
                x, y = a.read(1 << 20), b.read(1 << 20)
                need(x == y, "the bytes that came back differ")
                if not x:
                    return

    def w_big_dimse(self):
        """One instance of --big-mib MiB in by storescu and out by getscu; how much memory that adds at its peak."""

        def go():
            ds, path = self.big_file()
            out = self.fresh("big_out")
            rest = self.srv.pss()
            with self.srv.watch() as w_in:
                t = time.perf_counter()
                self.run(
                    ["storescu", "-aec", self.aet, "-R", "-xe", "-pdu", "131072", self.dhost, self.dport, str(path)]
                )
                t_in = time.perf_counter() - t
            with self.srv.watch() as w_out:
                t = time.perf_counter()
                self.getscu(ds.StudyInstanceUID, out)
                t_out = time.perf_counter() - t
            (got,) = out.iterdir()
            mib = self.o.big_mib
            skip = []
            for file in (path, got):
                with open(file, "rb") as f:
                    head = f.read(1 << 16)
                skip.append(len(head) - len(dataset_bytes(head)))
            self.need_same(path, got, skip)
            path.unlink(), got.unlink()
            for name, dt, w in (("cstore_big", t_in, w_in), ("cget_big", t_out, w_out)):
                self.emit(name, "MB/s", [mib * 1.048576 / dt], pss_added_mib=w["pss_peak_mib"] - rest, mib=mib)

        self.guard("big_dimse", "MB/s", go)

    def w_idle_associations(self):
        """200 associations that say nothing: % of a core that the server uses. Each must still release in order."""

        def go():
            count = 200
            ask = associate_rq(self.aet)
            with contextlib.ExitStack() as stack:
                peers = []
                for _ in range(count):
                    peer = stack.enter_context(socket.create_connection((self.dhost, int(self.dport)), 10))
                    peer.sendall(ask)
                    peers.append(peer)
                for at, peer in enumerate(peers):
                    peer.settimeout(20)
                    need(read_pdu(peer) == 2, f"association {at + 1} was not accepted")
                time.sleep(10)
                v, by_name = [], defaultdict(float)
                for _ in range(self.o.repeat):
                    with self.lock():
                        before, t = self.srv.shares(), time.perf_counter()
                        time.sleep(max(20, self.o.seconds))
                        after, t = self.srv.shares(), time.perf_counter() - t
                    used = {p: (name, cpu - before.get(p, (name, 0))[1]) for p, (name, cpu) in after.items()}
                    v.append(sum(cpu for _, cpu in used.values()) / t * 100)
                    for name, cpu in used.values():
                        by_name[name] += cpu / t * 100 / self.o.repeat
                for peer in peers:
                    peer.sendall(b"\5\0\0\0\0\4\0\0\0\0")
                    need(read_pdu(peer) == 6, "an association had ended")
            parts = {name: round(x, 3) for name, x in sorted(by_name.items(), key=lambda one: -one[1]) if x >= 0.001}
            self.emit("idle_200_associations", "% of a core", v, pss_mib=self.srv.pss(), by_process=parts)

        self.guard("idle_200_associations", "% of a core", go)

    def w_big(self):
        """One instance of --big-mib MiB in by curl -T and out again; how much memory that adds at its peak."""

        def go():
            ds, path = self.big_file()
            mib = self.o.big_mib
            base = f"http://{self.http.host}:{self.http.port}{self.http.root}"
            rest = self.srv.pss()
            with self.srv.watch() as w_in:
                t = time.perf_counter()
                answer = self.run(
                    [
                        "curl",
                        "-sS",
                        "--fail",
                        "-X",
                        "POST",
                        "-H",
                        "Content-Type: application/dicom",
                        "-H",
                        "Accept: " + JSON,
                        "-T",
                        str(path),
                        base + "/studies",
                    ]
                )
                t_in = time.perf_counter() - t
            need(ds.SOPInstanceUID.encode() in answer, "not stored")
            out = self.tmp / "big.out"
            with self.srv.watch() as w_out:
                t = time.perf_counter()
                self.run(
                    [
                        "curl",
                        "-sS",
                        "--fail",
                        "-H",
                        "Accept: application/dicom; transfer-syntax=*",
                        "-o",
                        str(out),
                        f"{base}/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}",
                    ]
                )
                t_out = time.perf_counter() - t
            self.need_same(path, out)
            path.unlink(), out.unlink()
            self.emit("big_in", "MB/s", [mib * 1.048576 / t_in], pss_added_mib=w_in["pss_peak_mib"] - rest, mib=mib)
            self.emit("big_out", "MB/s", [mib * 1.048576 / t_out], pss_added_mib=w_out["pss_peak_mib"] - rest, mib=mib)

        self.guard("big", "MB/s", go)

    def w_wado_frame(self):
        def ct():
            ser = self.corpus.big_ct()
            for m in ser[::50]:
                h, b, t1 = self.checked(self.ipath(m) + "/frames/1", MP_OCTET)
                p = parts(h, b)
                need(len(p) == 1 and hashlib.sha256(p[0]).hexdigest()[:16] == m["frame_sha"][0], "frame bytes differ")
            self.timed_get("wado_frame_ct", [self.ipath(m) + "/frames/1" for m in ser], MP_OCTET, t1, body_bytes=len(b))

        def us():
            m = self.corpus.kind("us")[0]
            for n in (1, 50, 100):
                h, b, t1 = self.checked(self.ipath(m) + f"/frames/{n}", MP_JPEG)
                p = parts(h, b)
                need(len(p) == 1, f"{len(p)} parts")
                ok = any(hashlib.sha256(x).hexdigest()[:16] == m["frame_sha"][n - 1] for x in (p[0], p[0][:-1]))
                need(ok, f"frame {n} bytes differ from the encapsulated JPEG ({len(p[0])} bytes)")
            self.timed_get(
                "wado_frame_us", [self.ipath(m) + f"/frames/{n}" for n in range(1, 101)], MP_JPEG, t1, body_bytes=len(b)
            )

        def enh():
            m = self.corpus.kind("enhct")[0]
            for n in (1, 30, 60):
                h, b, t1 = self.checked(self.ipath(m) + f"/frames/{n}", MP_OCTET)
                p = parts(h, b)
                need(
                    len(p) == 1 and hashlib.sha256(p[0]).hexdigest()[:16] == m["frame_sha"][n - 1], f"frame {n} differs"
                )
            self.timed_get(
                "wado_frame_enhct",
                [self.ipath(m) + f"/frames/{n}" for n in range(1, 61)],
                MP_OCTET,
                t1,
                body_bytes=len(b),
            )

        self.guard("wado_frame_ct", "req/s", ct)
        self.guard("wado_frame_us", "req/s", us)
        self.guard("wado_frame_enhct", "req/s", enh)

    def first_time(self, name, items, paths, accept, check=None):
        """Asks for each of `paths` once; nobody asked for them before. `check` gets each item and the answer to it."""
        with self.lock(), self.srv.watch() as w:
            t0 = time.perf_counter()
            for m, path in zip(items, paths):
                h, b = self.http.get(path, accept)
                if check:
                    check(m, h, b)
            seconds = time.perf_counter() - t0
        self.emit(
            f"{name}_first_c1",
            "req/s",
            [len(paths) / seconds],
            server_cpu_ms_per_req=w["cpu_s"] / len(paths) * 1e3,
            pss_peak_mib=w["pss_peak_mib"],
            requests=len(paths),
        )

    def w_wado_transcoded(self):
        """Compressed frames asked for without compression. Every answer of the first time is compared, pixel by pixel."""

        def one(kind):
            name = f"wado_transcoded_{kind}"

            def check(m, h, b):
                p = parts(h, b)
                need(len(p) == 1, f"{len(p)} parts")
                need(hashlib.sha256(p[0]).hexdigest()[:16] == m["frame_sha"][0], f"pixels differ ({len(p[0])} bytes)")

            def go():
                items = self.corpus.kind(kind)
                need(len(items) > 16, f"too few {kind} instances in --corpus")
                paths = [self.ipath(m) + "/frames/1" for m in items]
                for path in paths[:8]:  # whatever a worker starts for its first picture
                    self.http.clone().get(path, MP_EXPLICIT)
                self.first_time(name, items[8:], paths[8:], MP_EXPLICIT, check)
                for m in items[:: max(1, len(items) // 3)]:
                    h, b, t1 = self.checked(self.ipath(m) + "/frames/1", MP_EXPLICIT)
                    check(m, h, b)
                self.timed_get(name, paths, MP_EXPLICIT, t1, body_bytes=len(b))

            self.guard(name, "req/s", go)

        for kind in ("ctj2k", "ctjls", "cthtj2k"):
            one(kind)

    def w_wado_rendered(self):
        unique = random.randrange(10**6, 10**7)  # no earlier run asked for this: it must be made

        def one(name, pick, suffix, full, query):
            def go():
                import numpy as np
                from PIL import Image

                items = pick()
                paths = [self.ipath(m) + suffix + query for m in items]
                for quality in range(50, 58):  # whatever a worker starts for its first picture
                    self.http.clone().get(f"{paths[0]}&quality={quality}", "image/jpeg")
                self.first_time(name, items, paths, "image/jpeg")
                for m in items:
                    self.http.get(self.ipath(m) + suffix, "image/jpeg")  # so that what is timed below is asked again
                for m in items[:: max(1, len(items) // 3)]:
                    h, b, t1 = self.checked(self.ipath(m) + suffix, "image/jpeg")
                    need(h.get("Content-Type", "").startswith("image/jpeg"), f"Content-Type {h.get('Content-Type')}")
                    im = Image.open(io.BytesIO(b))
                    a = np.asarray(im.convert("L"))
                    if full:
                        need(im.size == (m["cols"], m["rows"]), f"size {im.size}")
                    else:
                        need(max(im.size) <= 512, f"thumbnail of {im.size}")
                    need(a.std() > 5, "rendered image is blank")
                self.timed_get(name, [self.ipath(m) + suffix for m in items], "image/jpeg", t1, body_bytes=len(b))

            self.guard(name, "req/s", go)

        window = f"?window=40,400.{unique},linear"
        one("wado_rendered_ct", self.corpus.big_ct, "/rendered", True, window)
        one(
            "wado_rendered_cr", lambda: self.corpus.kind("cr"), "/rendered", True, window.replace("40,400", "1024,2048")
        )
        one("wado_thumbnail_ct", self.corpus.big_ct, "/thumbnail", False, f"?viewport={unique % 7000 + 1000},256")

    # -- DIMSE query/retrieve
    def w_cfind(self):
        def go():
            st = self.studies()
            want = {s for s, m in st.items() if m["patient_name"].startswith("S")}
            base = [
                "findscu",
                "-S",
                "-aec",
                self.aet,
                "-k",
                "QueryRetrieveLevel=STUDY",
                "-k",
                "PatientName=S*",
                "-k",
                "PatientID",
                "-k",
                "StudyDate",
                "-k",
                "StudyDescription",
                "-k",
                "StudyInstanceUID",
                self.dhost,
                self.dport,
            ]
            out = self.run([base[0], "+sr", *base[1:]]).decode("latin1")
            got = set(re.findall(r"\(0020,000d\) UI \[([0-9.]+)", out)) - {""}
            need(got == want, f"{len(got & want)} right, {len(got - want)} wrong, expected {len(want)}")

            def t(n):
                t0 = time.perf_counter()
                self.run([base[0], "-sr", "--repeat", str(n), *base[1:]])
                return time.perf_counter() - t0

            one = min(t(1) for _ in range(3))
            n = max(4, min(200, int(self.o.seconds / max(0.002, (t(6) - one) / 5))))
            v, cpu = [], []
            for _ in range(self.o.repeat):
                with self.lock(), self.srv.watch() as w:
                    t1, tn = t(1), t(n + 1)
                v.append(n / max(1e-6, tn - t1))
                cpu.append(w["cpu_s"] / (n + 2) * 1e3)
            self.emit(
                "cfind_study_wildcard",
                "query/s",
                v,
                results=len(want),
                ms_per_query=1e3 / statistics.median(v),
                server_cpu_ms_per_query=statistics.median(cpu),
                archive_studies=len(st),
                startup_ms=one * 1e3,
            )

        self.guard("cfind_study_wildcard", "query/s", go)

    def getscu(self, study, d):
        return self.run(
            [
                "getscu",
                "-S",
                "-aec",
                self.aet,
                "-pdu",
                "131072",
                "+B",
                "-od",
                str(d),
                "-k",
                "QueryRetrieveLevel=STUDY",
                "-k",
                f"StudyInstanceUID={study}",
                self.dhost,
                self.dport,
            ]
        )

    def movescu(self, study, d):
        return self.run(
            [
                "movescu",
                "-S",
                "-aet",
                "BENCHMV",
                "-aem",
                "BENCHMV",
                "-aec",
                self.aet,
                "+P",
                str(self.o.mvport),
                "-pdu",
                "131072",
                "+B",
                "-od",
                str(d),
                "-k",
                "QueryRetrieveLevel=STUDY",
                "-k",
                f"StudyInstanceUID={study}",
                self.dhost,
                self.dport,
            ],
            cwd=d,
        )  # movescu +B writes to the working directory, whatever -od says

    def retrieve(self, name, fn):
        def go():
            ser = self.corpus.big_ct()
            items = self.corpus.by_study[ser[0]["study"]]
            src = {m["sop"]: m for m in items}
            v, cpu, mbs, pss, ccpu = [], [], [], [], []
            for k in range(self.o.repeat):
                d = self.fresh("rx")
                with self.lock(), self.srv.watch() as w:
                    t0 = time.perf_counter()
                    fn(ser[0]["study"], d)
                    dt = time.perf_counter() - t0
                fs = list(d.iterdir())
                need(len(fs) == len(items), f"{len(fs)} files, expected {len(items)}")
                for f in fs[:: 1 if k == 0 else 37]:
                    b = f.read_bytes()
                    s = sop_of(b)
                    need(s in src, "unexpected SOP Instance UID")
                    need(dataset_bytes(b) == dataset_bytes(Path(src[s]["abs"]).read_bytes()), "data set differs")
                v.append(len(items) / dt)
                mbs.append(sum(m["size"] for m in items) / dt / 1e6)
                cpu.append(w["cpu_s"] / len(items) * 1e3)
                ccpu.append(w["client_cpu_s"] / len(items) * 1e3)
                pss.append(w["pss_peak_mib"])
            shutil.rmtree(d)
            self.emit(
                name,
                "inst/s",
                v,
                mb_s=statistics.median(mbs),
                server_cpu_ms_per_inst=statistics.median(cpu),
                client_cpu_ms_per_inst=statistics.median(ccpu),
                pss_peak_mib=max(pss),
                instances=len(items),
            )

        self.guard(name, "inst/s", go)

    def w_cget(self):
        self.retrieve("cget", self.getscu)

    def w_cmove(self):
        self.retrieve("cmove", self.movescu)

    def w_idle(self):
        self.emit("idle_pss", "MiB", [self.srv.pss()], processes=len(self.srv.tree()))

    def table(self):
        print(f"\n{'workload':36} {'min':>9} {'median':>9} {'max':>9} unit")
        for r in self.rows:
            if r["status"] == "failed":
                print(f"{r['workload']:36} FAILED: {r['reason'][:90]}")
            else:
                ex = " ".join(f"{k}={r[k]}" for k in ("p50_ms", "p95_ms", "p99_ms", "mb_s", "pss_peak_mib") if k in r)
                print(f"{r['workload']:36} {r['min']:9g} {r['median']:9g} {r['max']:9g} {r['unit']:8} {ex}")


GROUPS = {
    "ingest": ["stow_serial", "stow_parallel", "cstore_1assoc", "cstore_4assoc"],
    "qido": ["qido_studies", "qido_instances"],
    "wado": ["wado_study", "wado_study_curl", "wado_instance", "wado_metadata", "wado_metadata_gzip", "wado_frame"],
    "rendered": ["wado_rendered"],
    "dimse": ["cfind", "cget", "cmove", "idle_associations"],
    "dimse_ingest": ["cstore_1assoc", "cstore_4assoc"],
}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--name", default="target")
    a.add_argument("--http", help="DICOMweb base URL")
    a.add_argument("--dimse", help="host:port:AET")
    a.add_argument("--header", help="one extra HTTP header, 'Name: value' (auth)")
    a.add_argument("--pidfile", action="append", default=[], help="file with a server root PID; repeat for several")
    a.add_argument(
        "--owned",
        action="append",
        default=[],
        help="the server's data directory: every process whose working "
        "directory lies under it is counted too (embedded PostgreSQL that is no child of --pidfile); repeat for several",
    )
    a.add_argument("--corpus", action="append", default=[])
    a.add_argument("--ingest", action="append", default=[])
    a.add_argument("--load", action="append", default=[])
    a.add_argument("--gen", type=int, default=100, help="last generation already used for ingest on this server")
    a.add_argument("--max-ingest", type=int, default=0)
    a.add_argument("--big-mib", type=int, default=2000, help="length of the instance of the workload `big`")
    a.add_argument("--repeat", type=int, default=3)
    a.add_argument("--seconds", type=int, default=3)
    a.add_argument("--conc", type=lambda s: [int(x) for x in s.split(",")], default=[1, 8])
    a.add_argument("--mvport", type=int, default=14250)
    a.add_argument("--lock", default=os.environ.get("BENCH_LOCK"))
    a.add_argument("--tmp", default=os.environ.get("BENCH_TMP"))
    a.add_argument("--out", help="append JSON lines here")
    a.add_argument("workload", nargs="+", help="names, or groups: " + ", ".join(GROUPS) + "; also load, idle")
    a.add_argument(
        "--nagle",
        action="store_true",
        help="leave Nagle's algorithm on in the DCMTK clients (DCMTK's default); "
        "without it they run with TCP_NODELAY=1, lest 40 ms delayed ACKs be what is measured",
    )
    o = a.parse_args()
    os.environ["TCP_NODELAY"] = "0" if o.nagle else "1"
    b = Bench(o)
    try:
        for w in o.workload:
            for x in GROUPS.get(w, [w]):
                getattr(b, "w_" + x)()
        b.table()
    finally:
        shutil.rmtree(b.tmp, ignore_errors=True)
    sys.exit(any(r["status"] == "failed" for r in b.rows))


if __name__ == "__main__":
    main()
