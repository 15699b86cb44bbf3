"""AWQ and GPTQ folders that pare writes give the logits of pare in transformers with gptqmodel's kernels on a CPU, which
compute with 16-bit numbers."""
import pathlib
import subprocess
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM

pare, work, model = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
ids = np.random.default_rng(7).integers(0, 512, (1, 48))
ids.astype('<i4').tofile(work / 'ids.i32')
for args in (['awq'], ['gptq'], ['gptq', '--symmetric', 'no', '--group-size', '64']):
    folder, out = work / ('hf_' + '_'.join(args)), work / 'ours.f32'
    subprocess.run([pare, 'convert', model, '-o', folder, '--format', *args], check=True, capture_output=True)
    subprocess.run([pare, 'logits', folder, '--tokens', work / 'ids.i32', '--length', '48', '-o', out, '--force'], check=True,
                   capture_output=True)
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(torch.from_numpy(ids)).logits
    ours = np.fromfile(out, '<f4').reshape(theirs.shape)
    worst, spread = np.abs(ours - theirs.numpy()).max(), ours.std()
    print(f'{" ".join(args)}: logits differ by {worst:.4f} at most, their standard deviation is {spread:.2f}')
    if not worst < 0.02 * spread:
        sys.exit('gptqmodel: FAILED')
