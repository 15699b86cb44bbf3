"""What may happen to a pinned folder that holds m.gguf, hub/ (safetensors), LICENSE, pare.lock and SHA256SUMS; and a
server that lists the folder as the Hub would. Used by scripts/trust_events.sh.
  trust_events.py list | apply FOLDER EVENT | serve FOLDER"""
import hashlib
import http.server
import json
import os
import pathlib
import re
import struct
import sys

EVENTS = {}


def event(name):
    def add(function):
        EVENTS[name] = function
        return function
    return add


def tensors(folder, name):
    files = json.loads((folder / 'pare.lock').read_text())['files']
    return {t['name']: t for f in files if f['name'] == name for t in f['tensors']}


def edit(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def twins(folder, name):
    """Two tensors of one shape and type."""
    found = {}
    for t in sorted(tensors(folder, name).values(), key=lambda t: t['offset']):
        key = (t['type'], tuple(t['shape']), len(t['shape']) > 1)
        if key[2] and key in found:
            return found[key], t
        found[key] = t
    raise SystemExit('no two tensors of one shape')


def swap_data(data, a, b):
    n = a['size']
    data[a['offset']:a['offset'] + n], data[b['offset']:b['offset'] + n] = \
        data[b['offset']:b['offset'] + n], data[a['offset']:a['offset'] + n]


def swap_fields(data, a, b):
    """The offsets in the header of a GGUF file: name, dimensions, type, offset."""
    places = []
    for t in (a, b):
        name = t['name'].encode()
        at = data.index(struct.pack('<Q', len(name)) + name) + 8 + len(name)
        places.append(at + 4 + 8 * struct.unpack_from('<I', data, at)[0] + 4)
    x, y = (data[p:p + 8] for p in places)
    data[places[0]:places[0] + 8], data[places[1]:places[1] + 8] = y, x


def flip(path, at):
    edit(path, lambda data: data.__setitem__(at, data[at] ^ 1))


@event('nothing')
def nothing(d):
    pass


@event('a bit of a tensor flipped')
def flip_tensor(d):
    flip(d / 'm.gguf', twins(d, 'm.gguf')[0]['offset'] + 5)


@event('a bit of a tensor flipped (safetensors)')
def flip_safetensors(d):
    flip(d / 'hub/model.safetensors', twins(d, 'hub/model.safetensors')[0]['offset'] + 5)


@event('truncated')
def truncate(d):
    os.truncate(d / 'm.gguf', os.path.getsize(d / 'm.gguf') - 100)


@event('truncated (safetensors)')
def truncate_safetensors(d):
    os.truncate(d / 'hub/model.safetensors', os.path.getsize(d / 'hub/model.safetensors') - 100)


@event('an extra file')
def extra(d):
    (d / 'extra.bin').write_text('x')


@event('a hidden extra file')
def hidden(d):
    (d / 'hub/.cache').mkdir()
    (d / 'hub/.cache/x.py').write_text('x')


@event('an empty extra folder')
def folder(d):
    (d / 'empty').mkdir()


@event('a file renamed')
def rename(d):
    (d / 'm.gguf').rename(d / 'n.gguf')


@event('a file renamed and a bit of it flipped')
def rename_edit(d):
    flip_tensor(d)
    rename(d)


@event('a file missing')
def missing(d):
    (d / 'LICENSE').unlink()


@event('a symbolic link to the same content')
def link(d):
    (d / 'm.gguf').rename(d.parent / 'aside')
    (d / 'm.gguf').symlink_to(d.parent.resolve() / 'aside')


@event('a hard link to the same content')
def hard(d):
    (d / 'm.gguf').rename(d.parent / 'aside')
    os.link(d.parent / 'aside', d / 'm.gguf')


@event('a folder in place of a file')
def directory(d):
    (d / 'LICENSE').unlink()
    (d / 'LICENSE').mkdir()


@event('a FIFO in place of a file')
def fifo(d):
    (d / 'LICENSE').unlink()
    os.mkfifo(d / 'LICENSE')


@event("two tensors' data swapped")
def swap(d):
    edit(d / 'm.gguf', lambda data: swap_data(data, *twins(d, 'm.gguf')))


@event("two tensors' data swapped (safetensors)")
def swap_safetensors(d):
    edit(d / 'hub/model.safetensors', lambda data: swap_data(data, *twins(d, 'hub/model.safetensors')))


@event('two files exchanged')
def exchange(d):
    (d / 'LICENSE').rename(d / 'x')
    (d / 'hub/config.json').rename(d / 'LICENSE')
    (d / 'x').rename(d / 'hub/config.json')


@event('metadata edited')
def metadata(d):
    edit(d / 'm.gguf', lambda data: data.__setitem__(data.index(b'general.name') + 12 + 4 + 8, ord('X')))


@event('written again in another order, same tensors')
def again(d):
    def change(data):
        a, b = twins(d, 'm.gguf')
        swap_data(data, a, b)
        swap_fields(data, a, b)
    edit(d / 'm.gguf', change)


@event('written again with another header, same tensors (safetensors)')
def again_safetensors(d):
    def change(data):
        n = struct.unpack_from('<Q', data)[0]
        header = json.dumps(json.loads(data[8:8 + n]), indent=1).encode()
        header += b' ' * (-len(header) % 8)
        data[:8 + n] = struct.pack('<Q', len(header)) + header
    edit(d / 'hub/model.safetensors', change)


@event('the lock edited')
def lock(d):
    text = (d / 'pare.lock').read_text()
    (d / 'pare.lock').write_text(text.replace('"name": "pare"', '"name": "pure"'))


@event('a file, its hash in SHA256SUMS and that in the lock edited')
def both(d):
    was = hashlib.sha256((d / 'LICENSE').read_bytes()).hexdigest()
    (d / 'LICENSE').write_text('b licence\n')
    now = hashlib.sha256((d / 'LICENSE').read_bytes()).hexdigest()
    for name in ('pare.lock', 'SHA256SUMS'):
        (d / name).write_text((d / name).read_text().replace(was, now))


def tree(root):
    rows = []
    for path in sorted(p for p in root.rglob('*') if p.is_file()):
        data = path.read_bytes()
        row = {'type': 'file', 'path': path.relative_to(root).as_posix(), 'size': len(data),
               'oid': hashlib.sha1(b'blob %d\0' % len(data) + data).hexdigest()}
        if re.search(r'\.(gguf|safetensors)$', path.name):
            row['lfs'] = {'oid': hashlib.sha256(data).hexdigest(), 'size': len(data), 'pointerSize': 132}
        rows.append(row)
    return json.dumps(rows).encode()


def serve(root):
    body = tree(root)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path.startswith('/api/models/org/m/tree/')
            self.send_response(200 if known else 404)
            self.send_header('Content-Type', 'application/json')
            self.end_headers()
            self.wfile.write(body if known else b'{}')

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if sys.argv[1] == 'list':
    print('\n'.join(EVENTS))
elif sys.argv[1] == 'apply':
    EVENTS[sys.argv[3]](pathlib.Path(sys.argv[2]))
else:
    serve(pathlib.Path(sys.argv[2]))
