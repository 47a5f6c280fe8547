#!/usr/bin/env python3
"""ratios.py RESULTS.jsonl > table.md : Fileroom against Orthanc, row by row of the speed targets, with met or missed; what
dcmqrscp does stands beside it, where it speaks DIMSE too (the ratio is Orthanc's)."""

import json
import statistics
import sys


def merged(rounds):
    """One row of those of several rounds: the median of each figure, but the highest memory."""
    good = [r for r in rounds if r["status"] == "ok"] or rounds[-1:]
    row = dict(good[-1])
    for name, value in row.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            values = [r[name] for r in good if name in r]
            row[name] = max(values) if name.startswith("pss_peak") else statistics.median(values)
    return row


rounds: dict[tuple[str, str], list[dict]] = {}
for line in open(sys.argv[1], encoding="utf-8"):
    if line.startswith("{"):
        r = json.loads(line)
        rounds.setdefault((r["peer"], r["workload"]), []).append(r)
rows = {key: merged(of_key) for key, of_key in rounds.items()}

CPU, RATE, PSS = "cpu", "rate", "pss"
# workload, figure, target ratio, suffix of the peers' names
TARGETS = [
    ("stow_serial_1perreq_tiny", CPU, 0.6, ""),
    ("stow_serial_1perreq_ct", CPU, 0.5, ""),
    ("stow_parallel8_1perreq_tiny", RATE, 1.7, ""),
    ("stow_parallel8_1perreq_ct", RATE, 2.0, ""),
    ("stow_serial_50perreq_tiny", RATE, 2.5, ""),
    ("stow_serial_50perreq_ct", RATE, 2.5, ""),
    ("stow_parallel8_50perreq_tiny", RATE, 2.0, ""),
    ("stow_parallel8_50perreq_ct", RATE, 2.0, ""),
    ("qido_studies_wildcard_c1", CPU, 0.08, ""),
    ("qido_studies_daterange_c1", CPU, 0.15, ""),
    ("qido_studies_patientid_c1", CPU, 0.2, ""),
    ("qido_studies_patientid_c1", CPU, 0.04, "-grown"),
    ("qido_instances_c1", CPU, 0.03, ""),
    ("wado_metadata_c1", CPU, 0.03, ""),
    ("wado_metadata_gzip_c1", CPU, 0.01, ""),
    ("wado_frame_ct_c1", CPU, 0.35, ""),
    ("wado_frame_us_c1", CPU, 0.1, ""),
    ("wado_frame_enhct_c1", CPU, 0.025, ""),
    ("wado_rendered_ct_first_c1", CPU, 0.5, ""),
    ("wado_rendered_ct_c1", CPU, 0.1, ""),
    ("wado_rendered_cr_first_c1", CPU, 0.45, ""),
    ("wado_transcoded_ctj2k_first_c1", CPU, 1.0, "-packed"),
    ("wado_transcoded_ctj2k_c1", CPU, 1.0, "-packed"),
    ("wado_transcoded_ctjls_first_c1", CPU, 1.0, "-packed"),
    ("wado_transcoded_ctjls_c1", CPU, 1.0, "-packed"),
    ("wado_transcoded_cthtj2k_first_c1", CPU, 1.0, "-packed"),
    ("wado_transcoded_cthtj2k_c1", CPU, 1.0, "-packed"),
    ("wado_study_curl", RATE, 1.2, ""),
    ("wado_study_curl", CPU, 0.8, ""),
    ("wado_instance_c1", CPU, 0.45, ""),
    ("cstore_1assoc_tiny", RATE, 1.0, ""),
    ("cstore_1assoc_tiny", CPU, 1.0, ""),
    ("cstore_1assoc_tiny_nagle", RATE, 12, ""),
    ("cstore_1assoc_ct", RATE, 1.1, ""),
    ("cstore_4assoc_ct", RATE, 1.1, ""),
    ("cfind_study_wildcard", RATE, 1.0, ""),
    ("cfind_study_wildcard", RATE, 5, "-grown"),
    ("cget", RATE, 1.0, ""),
    ("cmove", RATE, 1.0, ""),
]


def figure(row, kind):
    if row is None or row["status"] != "ok":
        return None
    if kind == RATE:
        return row["median"]
    return next((row[k] for k in row if k.startswith("server_cpu_ms_per") and not k.endswith(("first", "last"))), None)


def ratio_of(workload, kind, suffix):
    """The median of the ratios of the rounds, in which both were measured one right after the other; of the medians when
    a round lacks one."""
    ours, theirs = (
        [figure(row, kind) for row in rounds.get((peer + suffix, workload), ())] for peer in ("fileroom", "orthanc")
    )
    if len(ours) == len(theirs) and None not in ours + theirs:
        return statistics.median(a / b for a, b in zip(ours, theirs))
    a, b = (figure(rows[peer + suffix, workload], kind) for peer in ("fileroom", "orthanc"))
    return a / b


def cell(x):
    return "-" if x is None else f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


print("| workload | figure | Fileroom | Orthanc | dcmqrscp | ratio | target | |\n|---|---|---|---|---|---|---|---|")
for workload, kind, target, suffix in TARGETS:
    ours = figure(rows.get(("fileroom" + suffix, workload)), kind)
    theirs = figure(rows.get(("orthanc" + suffix, workload)), kind)
    unit = "CPU ms" if kind == CPU else (rows.get(("fileroom" + suffix, workload)) or {}).get("unit", "")
    sign = "≤" if kind == CPU else "≥"
    third = cell(figure(rows.get(("dcmqrscp", workload)), kind)) if suffix == "" and workload.startswith("c") else ""
    if ours is None or theirs is None:
        bad = [
            r["reason"]
            for p in ("fileroom", "orthanc")
            for name in (workload, workload.removesuffix("_c1").removesuffix("_first"))
            if (r := rows.get((p + suffix, name))) and r["status"] != "ok"
        ]
        print(
            f"| {workload}{suffix} | {unit} | {cell(ours)} | {cell(theirs)} | {third} | | {sign} {target}x | {'; '.join(bad)[:90] or 'not run'} |"
        )
        continue
    ratio = ratio_of(workload, kind, suffix)
    met = ratio <= target if kind == CPU else ratio >= target
    print(
        f"| {workload}{suffix} | {unit} | {cell(ours)} | {cell(theirs)} | {third} | {ratio:.3g}x | {sign} {target}x | {'met' if met else 'MISSED'} |"
    )

print("\n| our own figure | value | target | |\n|---|---|---|---|")
small, grown = rows.get(("fileroom", "load")), rows.get(("fileroom-grown", "load"))
if grown and grown["status"] == "ok":
    r = grown["server_cpu_ms_per_inst_last"] / grown["server_cpu_ms_per_inst_first"]
    print(
        f"| STOW CPU per instance, last 2,000 of {grown['instances']:,} against the first | {r:.3g}x | ≤ 1.2x | {'met' if r <= 1.2 else 'MISSED'} |"
    )
for v in ("wildcard", "daterange", "patientid"):
    a, b = rows.get(("fileroom", f"qido_studies_{v}_c1")), rows.get(("fileroom-grown", f"qido_studies_{v}_c1"))
    x, y = figure(a, CPU), figure(b, CPU)
    if a and b and x and y:
        note = f"{a['results']} → {b['results']} results"
        if a["results"] < b["results"]:  # the answer grew, not only the archive
            x, y, note = x / a["results"], y / b["results"], note + ", CPU per result"
        print(
            f"| QIDO {v}, CPU at the grown archive against the small one ({note}) | {y / x:.3g}x | ≤ 1.5x | {'met' if y <= 1.5 * x else 'MISSED'} |"
        )
queue = rows.get(("fileroom", "stow_waiting_transfers"))
if queue:
    x = queue["median"]
    print(
        f"| STOW CPU per instance with {queue['transfers']:,} waiting transfers against none | {x:.3g}x | ≤ 1.1x | {'met' if x <= 1.1 else 'MISSED'} |"
    )
idle = rows.get(("fileroom", "idle_pss"))
if idle:
    print(
        f"| memory at rest, all processes | {idle['median']:.0f} MiB | ≤ 350 | {'met' if idle['median'] <= 350 else 'MISSED'} |"
    )
peak = max((r.get("pss_peak_mib", 0) for (p, _), r in rows.items() if p.startswith("fileroom")), default=0)
print(f"| memory, highest of all workloads | {peak:.0f} MiB | ≤ 700 | {'met' if peak <= 700 else 'MISSED'} |")
pictures = ("wado_rendered", "wado_thumbnail", "wado_transcoded")
seen = [
    r["pss_peak_mib"]
    for (p, w), r in rows.items()
    if p.startswith("fileroom") and w.startswith(pictures) and "pss_peak_mib" in r
]
if seen:
    print(
        f"| memory, highest of all workloads with pictures | {max(seen):.0f} MiB | ≤ 800 | {'met' if max(seen) <= 800 else 'MISSED'} |"
    )
for workload, limit in (("wado_thumbnail_ct_first_c1", 4), ("wado_thumbnail_ct_c1", 0.6)):
    x = figure(rows.get(("fileroom", workload)), CPU)
    if x is not None:
        print(f"| {workload}, CPU | {x:.3g} ms | ≤ {limit} ms | {'met' if x <= limit else 'MISSED'} |")
for way in ("big_in", "big_out", "cstore_big", "cget_big"):
    r = rows.get(("fileroom", way))
    if r and r["status"] == "ok":
        print(
            f"| memory added by one {r['mib']} MiB instance, {way} | {r['pss_added_mib']:.0f} MiB | ≤ 64 | {'met' if r['pss_added_mib'] <= 64 else 'MISSED'} |"
        )
r = rows.get(("fileroom", "idle_200_associations"))
if r and r["status"] == "ok":
    x = r["median"]
    print(f"| 200 idle associations, all processes | {x:.2g} % of a core | < 1 % | {'met' if x < 1 else 'MISSED'} |")
    for name, share in r.get("by_process", {}).items():
        print(f"| of it {name} | {share:.2g} % | | |")
t = rows.get(("fileroom", "wado_metadata_c1"))
if t and "ttfb_ms" in t:
    print(
        f"| first byte of the 300-instance metadata | {t['ttfb_ms']:.1f} ms | < 20 | {'met' if t['ttfb_ms'] < 20 else 'MISSED'} |"
    )
