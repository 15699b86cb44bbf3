"""Signatures and bills of materials against independent programs: bundles go both ways between pare and the reference
implementation of OpenSSF Model Signing (package model-signing), and what it signs is broken in ways that both must refuse;
CycloneDX documents fit the schemas that cyclonedx-python-lib carries."""
import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys

import model_signing
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

pare, work, demo = sys.argv[1], *map(lambda p: pathlib.Path(p).resolve(), sys.argv[2:4])
CURVES = {'P-256': ec.SECP256R1, 'P-384': ec.SECP384R1, 'P-521': ec.SECP521R1}
HASH_OF = {'P-256': hashes.SHA256, 'P-384': hashes.SHA384, 'P-521': hashes.SHA512}
N_CHECKS = 0


def check(ok, what):
    global N_CHECKS
    N_CHECKS += 1
    if not ok:
        sys.exit(f'interop: FAILED: {what}')


def run(*args, code=0, **more):
    done = subprocess.run([pare, *map(str, args)], capture_output=True, text=True, **more)
    check(done.returncode == code, f'pare {args}: exit {done.returncode}, expected {code}\n{done.stdout}{done.stderr}')
    return done.stdout


def verdict(folder, key, signature, code=0, *more):
    return json.loads(run('verify', folder, '--key', key, '--signature', signature, '--json', *more, code=code))


def make_key(curve, name):
    key = ec.generate_private_key(CURVES[curve]())
    (work / f'{name}.pem').write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    (work / f'{name}.pub').write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return key


def make_folder(name):
    folder = work / name
    if folder.exists():
        shutil.rmtree(folder)
    for path, data in {'model.bin': bytes(range(256)) * 40, 'empty': b'', 'onnx/x': b'x', 'onnx-int8/x': b'y',
                       '1_Pooling/config.json': b'{}', '1_Pooling.json': b'[]', 'Zä 名.txt': b'z'}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def hashing(algorithm='sha256', shard_size=0, ignored=()):
    config = model_signing.hashing.Config()
    if shard_size:
        config.use_shard_serialization(hashing_algorithm=algorithm, shard_size=shard_size)
    else:
        config.use_file_serialization(hashing_algorithm=algorithm)
    return config.set_ignored_paths(paths=list(ignored))


def reference_sign(folder, name, signature, config=None):
    model_signing.signing.Config().use_elliptic_key_signer(private_key=work / f'{name}.pem') \
        .set_hashing_config(config or hashing(ignored=[signature])).sign(folder, signature)


def reference_verify(folder, name, signature):
    """What the reference finds wrong, or None."""
    try:
        model_signing.verifying.Config().use_elliptic_key_verifier(public_key=work / f'{name}.pub').verify(folder, signature)
    except Exception as error:
        return error or 'refused'
    return None


def reference_to_pare():
    for curve in CURVES:
        make_key(curve, curve)
        folder = make_folder('theirs')
        reference_sign(folder, curve, folder / 'model.sig')
        found = verdict(folder, work / f'{curve}.pub', folder / 'model.sig')
        check(found['signature'] == 'ok' and found['n_signed'] == 7 and not found['findings'], f'{curve}: {found}')
    for algorithm, shard_size in (('sha256', 1000), ('blake2', 0), ('blake2', 4096)):
        reference_sign(folder, 'P-256', work / 'o.sig', hashing(algorithm, shard_size, [folder / 'model.sig']))
        found = verdict(folder, work / 'P-256.pub', work / 'o.sig')
        check(found['signature'] == 'ok', f'{algorithm}, shards of {shard_size}: {found}')
        (folder / 'model.bin').write_bytes(bytes(10240))
        found = verdict(folder, work / 'P-256.pub', work / 'o.sig', 1)
        check(all(f['file'] == 'model.bin' and f['kind'] == 'signed content' for f in found['findings']), str(found))
        make_folder('theirs')
        reference_sign(folder, 'P-256', folder / 'model.sig')
    reference_sign(folder / 'model.bin', 'P-256', work / 'file.sig')
    check(verdict(folder / 'model.bin', work / 'P-256.pub', work / 'file.sig')['signature'] == 'ok', 'one file')
    verdict(folder / '1_Pooling.json', work / 'P-256.pub', work / 'file.sig', 1)
    verdict(folder, work / 'P-256.pub', work / 'file.sig', 3)


def pare_to_reference():
    for curve in CURVES:
        folder = work / 'ours'
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(demo, folder)
        for name in ('.git/HEAD', '.cache/x', 'sub/.gitkeep', 'onnx/a', 'onnx-int8/a', '1_Pooling/config.json', '1_Pooling.json'):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        run('pin', folder, '-o', folder / 'pare.lock', '--sign', work / f'{curve}.pem')
        problem = reference_verify(folder, curve, folder / 'model.sig')
        check(problem is None, f'{curve}: the reference refuses what pare signed: {problem}')
        run('verify', folder / 'pare.lock', '--key', work / f'{curve}.pub')
        other = next(c for c in CURVES if c != curve)
        check(reference_verify(folder, other, folder / 'model.sig') is not None, 'another key')
        (folder / 'sub' / 'z').write_text('z')
        check(reference_verify(folder, curve, folder / 'model.sig') is not None, 'an unsigned file')
        run('verify', folder, '--key', work / f'{curve}.pub', code=1)
        run('verify', folder, '--key', work / f'{curve}.pub', '--ignore-unsigned')
        # the command line, as a user has it
        (folder / 'sub' / 'z').unlink()
        done = subprocess.run([sys.executable, '-m', 'model_signing', 'verify', 'key', folder, '--public_key',
                               work / f'{curve}.pub', '--signature', folder / 'model.sig'], capture_output=True)
        check(done.returncode == 0, f'model_signing verify: {done.stderr.decode()}')


def sign_statement(key, bundle, statement):
    """Another statement in a bundle, signed well."""
    payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
    envelope = bundle['dsseEnvelope']
    pae = b'DSSEv1 %d %s %d %s' % (28, b'application/vnd.in-toto+json', len(payload), payload)
    envelope['payload'] = base64.b64encode(payload).decode()
    envelope['signatures'][0]['sig'] = base64.b64encode(key.sign(pae, ec.ECDSA(hashes.SHA256()))).decode()


def set_root(statement):
    raw = b''.join(bytes.fromhex(r['digest']) for r in statement['predicate']['resources'])
    digest = hashes.Hash(hashes.SHA256())
    digest.update(raw)
    statement['subject'][0]['digest']['sha256'] = digest.finalize().hex()


def broken():
    """Ways to break what the reference signed. Both refuse each; pare's exit code is 1 when something differs from what
    is signed, 3 when the bundle breaks its format, 4 when it is of a kind that pare does not know."""
    key = make_key('P-256', 'owner')
    make_key('P-256', 'stranger')
    rows = []

    def envelope(code, what, change, name='owner', both=True):
        rows.append((code, what, name, both, lambda folder, bundle, statement: change(bundle)))

    def signed(code, what, change, root=True, both=True):
        def apply(folder, bundle, statement):
            statement = change(statement) or statement
            if root:
                set_root(statement)
            sign_statement(key, bundle, statement)
        rows.append((code, what, 'owner', both, apply))

    def files(code, what, change):
        rows.append((code, what, 'owner', True, lambda folder, bundle, statement: change(folder)))

    def resources(s):
        return s['predicate']['resources']

    def flip_signature(bundle, at):
        first = bundle['dsseEnvelope']['signatures'][0]
        raw = bytearray(base64.b64decode(first['sig']))
        raw[at] ^= 1
        first['sig'] = base64.b64encode(raw).decode()

    def flip_payload(bundle):
        raw = bytearray(base64.b64decode(bundle['dsseEnvelope']['payload']))
        raw[raw.index(b'"digest"') + 20] ^= 1
        bundle['dsseEnvelope']['payload'] = base64.b64encode(raw).decode()

    envelope(1, 'a byte of the payload', flip_payload)
    for at in (0, 10, -1):
        envelope(1, f'byte {at} of the signature', lambda b, at=at: flip_signature(b, at))
    envelope(1, 'another key', lambda b: None, 'stranger')
    envelope(1, 'another key, and its hint', lambda b: b['verificationMaterial']['publicKey'].pop('hint'), 'stranger')
    envelope(3, 'payloadType', lambda b: b['dsseEnvelope'].update(payloadType='application/json'))
    envelope(3, 'mediaType', lambda b: b.update(mediaType='application/json'))
    envelope(3, 'no signature', lambda b: b['dsseEnvelope'].update(signatures=[]))
    envelope(3, 'no payload', lambda b: b['dsseEnvelope'].pop('payload'))
    envelope(3, 'two signatures', lambda b: b['dsseEnvelope']['signatures'].append(b['dsseEnvelope']['signatures'][0]),
             both=False)  # the reference passes the two
    envelope(1, 'the hint of another key', lambda b: b['verificationMaterial']['publicKey'].update(hint='00' * 32))
    envelope(3, 'base64 of the payload', lambda b: b['dsseEnvelope'].update(payload='%' + b['dsseEnvelope']['payload']),
             both=False)  # the reference skips the character
    envelope(3, 'base64 of the signature', lambda b: b['dsseEnvelope']['signatures'][0].update(sig='%%%'))
    envelope(1, 'a key of another curve', lambda b: b['verificationMaterial']['publicKey'].pop('hint'), 'P-384')
    envelope(1, 'the signature of another payload', lambda b: b['dsseEnvelope']['signatures'][0].update(
        sig=base64.b64encode(key.sign(b'DSSEv1 28 application/vnd.in-toto+json 2 {}', ec.ECDSA(hashes.SHA256()))).decode()))
    signed(3, 'a name twice', lambda s: resources(s).append(dict(resources(s)[0])), both=False)  # as above
    signed(1, 'a digest', lambda s: resources(s)[0].update(digest='00' * 32))
    signed(3, 'the root digest', lambda s: s['subject'][0]['digest'].update(sha256='00' * 32), root=False)
    signed(3, 'a digest without the root', lambda s: resources(s)[0].update(digest='00' * 32), root=False)
    signed(1, 'a resource less', lambda s: resources(s).pop() and None)
    signed(1, 'a resource more', lambda s: resources(s).append(dict(resources(s)[0], name='more')))
    signed(3, 'two subjects', lambda s: s['subject'].append(s['subject'][0]))
    signed(3, 'no subject', lambda s: s['subject'].clear(), root=False)
    signed(3, 'predicateType', lambda s: s.update(predicateType='https://model_signing/signature/v9'))
    signed(3, '_type', lambda s: s.update(_type='https://in-toto.io/Statement/v0'))
    signed(3, 'an algorithm', lambda s: resources(s)[0].update(algorithm='sha512'))
    signed(3, 'a path that leaves the folder', lambda s: resources(s)[0].update(name='../theirs.txt'))
    signed(3, 'an absolute path', lambda s: resources(s)[0].update(name='/etc/hostname'))
    signed(3, 'a name twice with another digest', lambda s: resources(s).insert(0, dict(resources(s)[0], digest='00' * 32)),
           both=False)  # the reference keeps the last of them and passes
    signed(4, 'an unknown method', lambda s: s['predicate']['serialization'].update(method='tensors'))
    signed(4, 'an unknown hash', lambda s: s['predicate']['serialization'].update(hash_type='md5'))
    signed(3, 'no JSON', lambda s: {'predicate': {'resources': []}, 'subject': [{'digest': {}}]})
    files(1, 'a byte of a file', lambda f: (f / 'model.bin').write_bytes(bytes(10240)))
    files(1, 'a file cut', lambda f: (f / 'model.bin').write_bytes((f / 'model.bin').read_bytes()[:-1]))
    files(1, 'a missing file', lambda f: (f / 'onnx/x').unlink())
    files(1, 'a missing empty file', lambda f: (f / 'empty').unlink())
    files(1, 'an extra file', lambda f: (f / 'onnx/y').write_text(''))
    files(1, 'a renamed file', lambda f: (f / 'onnx/x').rename(f / 'onnx/y'))
    files(1, 'two files exchanged', lambda f: [(f / 'onnx/x').write_bytes(b'y'), (f / 'onnx-int8/x').write_bytes(b'x')])
    files(1, 'a symbolic link', lambda f: [(f / 'onnx/x').rename(work / 'moved'), os.symlink(work / 'moved', f / 'onnx/x')])
    files(1, 'a folder in place of a file', lambda f: [(f / 'empty').unlink(), (f / 'empty').mkdir()])

    for code, what, name, both, apply in rows:
        folder, signature = make_folder('theirs'), work / 'theirs.sig'
        reference_sign(folder, 'owner', signature)
        bundle = json.loads(signature.read_text())
        apply(folder, bundle, json.loads(base64.b64decode(bundle['dsseEnvelope']['payload'])))
        signature.write_text(json.dumps(bundle))
        found = json.loads(run('verify', folder, '--key', work / f'{name}.pub', '--signature', signature, '--json', code=code))
        if code == 1:
            check(found['signature'] == 'different' and found['findings'], f'{what}: {found}')
        else:
            check(str(signature) in found['error']['message'], f'{what}: {found}')
        if both:
            check(reference_verify(folder, name, signature) is not None, f'{what}: the reference passes it')
    print(f'interop: {len(rows)} ways to break a bundle')


def trailing():
    """Text behind the bundle."""
    folder, signature = make_folder('theirs'), work / 'theirs.sig'
    reference_sign(folder, 'owner', signature)
    signature.write_text(signature.read_text() + '{}')
    run('verify', folder, '--key', work / 'owner.pub', '--signature', signature, code=3)
    check(reference_verify(folder, 'owner', signature) is not None, 'trailing text: the reference passes it')


def bills():
    """Of the demo folder, of a GGUF file, of a model card with everything."""
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    folder = work / 'bill'
    shutil.copytree(demo, folder)
    (folder / 'README.md').write_text('---\nlicense: apache-2.0\ntags: [small, "line\\tbreak"]\npipeline_tag: text-generation\n'
                                      'base_model:\n- org/first\n- org/second\ndatasets:\n- org/data\nlanguage: [en, de]\n---\n')
    (work / 'one').mkdir()
    run('convert', folder, '-o', work / 'one' / 'm.gguf')
    environment = dict(os.environ, SOURCE_DATE_EPOCH='86400')
    for operand, out in ((folder, folder / 'bom.json'), (work / 'one', work / 'm.bom.json')):
        where = operand
        for _ in range(2):  # the second run replaces what the first one wrote
            run('pin', operand, '-o', where / 'pare.lock', '--force', '--cyclonedx', out, '--sign', work / 'owner.pem',
                env=environment)
            text = out.read_text()
        problem = validator.validate_str(text)
        check(problem is None, f'{out.name}: {problem}')
        bom = json.loads(text)
        model = bom['metadata']['component']
        check(model['type'] == 'machine-learning-model' and model['modelCard']['modelParameters'], str(model))
        check(bom['metadata']['timestamp'] == '1970-01-02T00:00:00Z', 'the time')
        for row in bom['components']:
            sums = subprocess.run(['sha256sum', where / row['name']], capture_output=True, text=True, check=True).stdout
            check(row['hashes'] == [{'alg': 'SHA-256', 'content': sums.split()[0]}], str(row))
        run('verify', where / 'pare.lock', '--key', work / 'owner.pub')
    model = json.loads((work / 'm.bom.json').read_text())['metadata']['component']
    check(model['licenses'] == [{'license': {'name': 'apache-2.0'}}], str(model))
    check([a['name'] for a in model['pedigree']['ancestors']] == ['First', 'Second'], str(model))
    check(len(model['hashes']) == 1 and model['modelCard']['modelParameters']['task'] == 'text-generation', str(model))


for part in (reference_to_pare, pare_to_reference, broken, trailing, bills):
    part()
    print(f'interop: {part.__name__}: ok')
print(f'interop: {N_CHECKS} checks of signatures and bills passed')
