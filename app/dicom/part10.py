"""Incremental reader of DICOM files (PS3.10) and bare data sets: identifiers, PS3.18 Annex F JSON, frame and bulk
places in one pass over the bytes as they come. It never holds pixel data; any bytes give a `Header` or `Refused`."""

from __future__ import annotations

from app.dicom import attributes
from app.dicom.broken_off import LenientScanner
from app.dicom.dictionary import PIXEL_REPRESENTATION
from app.dicom.filestart import PREAMBLE, SNIFF, FileStart, MetaReader, begins_data_set, meta_at, settle
from app.dicom.frames import encapsulated_frames, native_frames
from app.dicom.header import FrameIndex, Header, HeaderWarning
from app.dicom.inflate import TOO_EARLY, Inflater
from app.dicom.levels import MOST_FAULTS
from app.dicom.limits import DEFAULT, Limits
from app.dicom.prepared import INSTANCE, SERIES, STUDY, path_of
from app.dicom.scanner import IDENTIFIERS
from app.dicom.signs import fill_gaps, settle_signs
from app.dicom.transfer_syntaxes import ENCAPSULATED_UNCOMPRESSED, TRANSFER_SYNTAXES, transfer_syntax
from app.dicom.uid import is_uid
from app.errors import FileroomError, Unreadable

_STUDY_UID, _SERIES_UID, _SOP_UID, _SOP_CLASS = 0x0020000D, 0x0020000E, 0x00080018, 0x00080016
_OPENING = PREAMBLE + 4
_UNEXPECTED = "the data set cannot be read"
_INDEXED = attributes.INDEXED


class HeaderReader:
    """Reads one instance. Feed it the bytes in order, in any portions, then call `finish`."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.dataset_offset: int | None = None
        """Where the data set begins; None until the file meta has passed."""
        self._limits = limits
        self._start = FileStart()
        self._meta: MetaReader | None = None
        self._scanner: LenientScanner | None = None
        self._inflater: Inflater | None = None
        self._parts: list[bytes] = []
        self._have = 0
        self._need = _OPENING

    @property
    def identifiers(self) -> tuple[str, str, str] | None:
        """Study, Series and SOP Instance UID, as soon as all three have passed."""
        found = self._scanner.identifiers if self._scanner else {}
        if len(found) < len(IDENTIFIERS):
            return None
        return found[_STUDY_UID], found[_SERIES_UID], found[_SOP_UID]

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `Unreadable` or `LimitExceeded`."""
        try:
            if self._inflater is None and self._scanner is not None:
                self._scanner.feed(chunk)
            else:
                self._feed(chunk)
        except FileroomError:
            raise
        except Exception as error:
            raise Unreadable(_UNEXPECTED) from error

    def finish(self) -> Header:
        """No more bytes come. A data set that ends inside an element is read as far as it goes, when it names the
        instance before. Raises `Unreadable` or `LimitExceeded`."""
        try:
            return self._finish()
        except FileroomError:
            raise
        except Exception as error:
            raise Unreadable(_UNEXPECTED) from error

    def finish_json(self) -> bytes:
        """The whole DICOM JSON object of a data set that is no instance, such as a worklist item. Raises as `finish`,
        also for one that is not complete."""
        try:
            scanner = self._read_scanner()
            if self._inflater is not None:
                self._inflater.finish()
            scanner.finish()
            hits, _ = scanner.top.ordered()
            return b"{%b}" % b",".join([hit[0] for hit in hits])
        except FileroomError:
            raise
        except Exception as error:
            raise Unreadable(_UNEXPECTED) from error

    # ---------------------------------------------------------------- opening

    def _feed(self, chunk: bytes) -> None:
        if self._inflater is not None and self._scanner is not None:
            for inflated in self._inflater.feed(chunk):
                self._scanner.feed(inflated)
            return
        self._parts.append(chunk)
        self._have += len(chunk)
        if self._have >= self._need:
            data = b"".join(self._parts) if len(self._parts) > 1 else chunk
            self._parts = [data]
            self._open(data)

    def _open(self, data: bytes) -> None:
        """Read the file meta as far as it is there, and begin the data set when its first bytes are there."""
        if self._meta is None:
            begin = meta_at(data)
            if begin is None:
                self._begin(data, 0)
                return
            self._meta = MetaReader(begin)
        self._need = self._meta.read(data)
        if not self._need:
            self._start = self._meta.start
            self._begin(data, self._meta.pos)

    def _begin(self, data: bytes, pos: int) -> None:
        """The data set begins at `pos`, and at least its first eight bytes are there."""
        head = data[pos : pos + SNIFF]
        if self._meta is None and not begins_data_set(head):
            raise Unreadable("neither a DICOM file nor a data set")
        encoding, deflated = settle(self._start, head)
        self.dataset_offset = pos
        self._parts = []
        self._scanner = LenientScanner(self._limits, encoding, 0 if deflated else pos)
        if deflated:
            self._inflater = Inflater(self._limits)
            self._feed(data[pos:])
        else:
            self._scanner.feed(data, pos)

    # ----------------------------------------------------------------- result

    def _finish(self) -> Header:
        scanner = self._read_scanner()
        scanner.conclude()
        if self._inflater is not None:
            if not self._inflater.has_ended and not scanner.broken_off:
                scanner.break_off(TOO_EARLY)
            if self._inflater.trailing > 1:
                self._start.faults.append(("", "bytes after the deflated data set"))
        for tag, name in IDENTIFIERS.items():
            if tag not in scanner.identifiers:
                raise Unreadable(scanner.broken_off or f"{name} is missing")
        assert self.dataset_offset is not None
        return self._header(scanner, self.dataset_offset)

    def _read_scanner(self) -> LenientScanner:
        """The scanner that has read the data set, which must have begun."""
        if self._scanner is None and self._meta is None and self._have >= SNIFF:
            self._open(b"".join(self._parts))
        scanner = self._scanner
        if scanner is None or self.dataset_offset is None:
            raise Unreadable("the file ends before its data set begins")
        return scanner

    def _header(self, scanner: LenientScanner, offset: int) -> Header:
        hits, in_order = scanner.top.ordered()
        faults = scanner.break_faults + self._start.faults + scanner.faults
        if scanner.deferred:
            settle_signs(scanner.deferred, scanner.top.text_of(PIXEL_REPRESENTATION))
            hits, wrong = fill_gaps(scanner.deferred, hits)
            faults.extend(wrong)
        if not in_order:
            faults.append(("", "elements out of order"))
        texts = {}
        marked = [hit for hit in hits if hit[2]]
        for hit in marked:
            if hit[3] is not None:
                texts[hit[1]] = hit[3].strip(" \0")
            if hit[4]:
                faults.extend(hit[4])
        frames = self._frames(scanner, texts, faults)
        sop_class = self._sop_class(texts, faults)
        study, series, sop = (scanner.identifiers[tag] for tag in (_STUDY_UID, _SERIES_UID, _SOP_UID))
        if self._start.sop_instance not in ("", sop):
            faults.append(("00020003", "the file meta names another SOP Instance UID than the data set"))
        texts.update(scanner.identifiers)
        return Header(
            transfer_syntax=self._start.transfer_syntax,
            sop_class=sop_class,
            sop_instance=sop,
            study=study,
            series=series,
            dataset_offset=offset,
            json=b"{%b}" % b",".join([hit[0] for hit in hits]),
            study_json=b",".join([hit[0] for hit in marked if hit[2] & STUDY]),
            series_json=b",".join([hit[0] for hit in marked if hit[2] & SERIES]),
            instance_json=b",".join([hit[0] for hit in marked if hit[2] & INSTANCE]),
            values={tag: text for tag, text in texts.items() if tag in _INDEXED},
            frames=frames,
            bulk=tuple(scanner.bulk),
            warnings=tuple([HeaderWarning(path, message) for path, message in faults[:MOST_FAULTS]]),
            broken_off=bool(scanner.broken_off),
        )

    def _sop_class(self, texts: dict[int, str], faults: list[tuple[str, str]]) -> str:
        """The SOP class of the data set, else of the file meta, else ""."""
        uid = texts.get(_SOP_CLASS, "")
        meta = self._start.sop_class
        if not is_uid(uid):
            faults.append((path_of(_SOP_CLASS), "missing or no UID"))
            return meta
        if meta not in ("", uid):
            faults.append(("00020002", "the file meta names another SOP Class UID than the data set"))
        return uid

    def _frames(self, scanner: LenientScanner, texts: dict[int, str], faults: list[tuple[str, str]]) -> FrameIndex:
        fault = ""
        index = FrameIndex()
        if scanner.fragments is not None:
            video = transfer_syntax(self._start.transfer_syntax).video
            index, fault = encapsulated_frames(texts, scanner.fragments, scanner.tables(), video, self._limits)
        elif scanner.pixels is not None:
            tag, word, offset, length = scanner.pixels
            row = TRANSFER_SYNTAXES.get(self._start.transfer_syntax)
            if row is not None and row.encapsulated and row.uid != ENCAPSULATED_UNCOMPRESSED:
                fault = "pixel data of a compressed transfer syntax is not encapsulated"
            else:
                index, fault = native_frames(texts, tag, word, offset, length, self._limits)
        if fault:
            faults.append((path_of(index.tag), fault))
        return index
