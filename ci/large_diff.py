"""Times `kolm diff` on two artifacts with 100 M adapter parameters each, and shows its peak memory.

usage: ci/large_diff.py KOLM SMALL.kolm FOLDER

Both are SMALL with one f32 tensor of 100 M elements as adapter and hashes, CID and container made to fit; diff needs no key, so
the receipt's chain stays as it was and `kolm verify` would refuse them. FOLDER takes 800 MB.
"""
import array
import hashlib
import json
import os
import resource
import struct
import subprocess
import sys
import time
import zipfile
import zlib

ELEMENTS = 100_000_000
ADAPTER = "adapter/adapter_model.safetensors"


def compact(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def enlarged(small, pattern):
    with zipfile.ZipFile(small) as archive:
        entries = archive.infolist()
        members = {entry.filename: archive.read(entry) for entry in entries}
    with open(small, "rb") as file:
        raw = file.read()
    table = b'{"w":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (ELEMENTS, 4 * ELEMENTS)
    table += b" " * (-len(table) % 8)
    members[ADAPTER] = struct.pack("<Q", len(table)) + table + array.array("f", pattern).tobytes() * (ELEMENTS // len(pattern))
    manifest = json.loads(members["manifest.json"])
    receipt = json.loads(members["receipt.json"])
    manifest["hashes"][ADAPTER] = hashlib.sha256(members[ADAPTER]).hexdigest()
    manifest["adapter"]["size"] = len(members[ADAPTER])
    manifest["cid"] = receipt["cid"] = "cidv1:sha256:" + hashlib.sha256(compact(manifest["hashes"])).hexdigest()
    members["manifest.json"], members["receipt.json"] = compact(manifest), compact(receipt)
    return raw, entries, members


def write(path, raw, entries, members):
    central_at = struct.unpack("<I", raw[-6:-2])[0]
    central, position = b"", central_at
    with open(path, "wb") as out:
        for entry in entries:
            content = members[entry.filename]
            sizes = struct.pack("<III", zlib.crc32(content), len(content), len(content))
            name_len = len(entry.filename)
            local = raw[entry.header_offset:entry.header_offset + 30 + name_len]
            record = raw[position:position + 46 + name_len]
            position += 46 + name_len
            record = record[:16] + sizes + record[28:42] + struct.pack("<I", out.tell()) + record[46:]
            central += record
            out.write(local[:14] + sizes + local[26:])
            out.write(content)
        start = out.tell()
        out.write(central)
        end = raw[position:]
        out.write(end[:12] + struct.pack("<II", len(central), start) + end[20:])


kolm, small, folder = sys.argv[1:]
paths = [os.path.join(folder, name) for name in ("large-a.kolm", "large-b.kolm")]
for path, pattern in zip(paths, ([0.5, 0.25, -1.0, 2.0], [0.5, 0.25, -1.5, 2.5])):
    write(path, *enlarged(small, pattern))
started = time.monotonic()
done = subprocess.run([kolm, "diff", *paths], stdout=subprocess.PIPE, text=True)
seconds = time.monotonic() - started
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print("\n".join(line[:150] for line in done.stdout.splitlines() if "elements" in line or line.startswith("    w ")))
print(f"exit {done.returncode}, {seconds:.2f} s, peak {peak / 1024:.0f} MiB")
for path in paths:
    os.remove(path)
