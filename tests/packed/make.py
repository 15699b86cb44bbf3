#!/usr/bin/env python3
"""Makes tests/packed/<name>: a tiny llama whose matrices other packages have packed, and what they stand for.

    python3 tests/packed/make.py [NAME...]     (torch, safetensors, compressed-tensors, bitsandbytes)

config.json and model.safetensors are a folder as it is published. weights.sha256 has for each matrix the SHA-256 of its
values as little-endian floats in rows, as the package that packed it unpacks it with its scales widened to float32 (the
packages round the products to the type of the scales, or of the model, afterwards). EXL3's only decoder runs on GPUs: its
values, filled up to 128 rows and columns, are those of the decoder beside which docs/formats/PACKED.md puts it.
"""
import hashlib
import json
import os
import sys

import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
EMBD, FF, HEADS, KV, VOCAB = 64, 128, 2, 1, 16
DIM = EMBD // HEADS
SHAPES = {
    "self_attn.q_proj": (EMBD, EMBD),
    "self_attn.k_proj": (KV * DIM, EMBD),
    "self_attn.v_proj": (KV * DIM, EMBD),
    "self_attn.o_proj": (EMBD, EMBD),
    "mlp.gate_proj": (FF, EMBD),
    "mlp.up_proj": (FF, EMBD),
    "mlp.down_proj": (EMBD, FF),
}


def compressed(format_name, scheme_name=None, **weights):
    """By the compressors of compressed-tensors; scales as an observer of extremes finds them."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    args = QuantizationArgs(**weights)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    package = BaseCompressor.get_value_from_registry(format_name)

    def extremes(w):
        rows, columns = w.shape
        if args.strategy in ("group", "tensor_group"):
            w = w.reshape(rows, columns // args.group_size, args.group_size)
            return w.amin(-1), w.amax(-1)
        if args.strategy == "channel":
            return w.amin(-1, keepdim=True), w.amax(-1, keepdim=True)
        if args.strategy == "block":
            tall, wide = args.block_structure
            w = torch.nn.functional.pad(w, (0, -columns % wide, 0, -rows % tall))
            w = w.reshape(w.shape[0] // tall, tall, w.shape[1] // wide, wide)
            return w.amin((1, 3)), w.amax((1, 3))
        return w.amin(), w.amax()

    def pack(w):
        state = {"weight": w}
        low, high = extremes(w)
        if args.strategy == "tensor_group":
            state["weight_global_scale"] = (448 * 6 / w.abs().amax()).float().reshape(1)
        scale, zero = calculate_qparams(low, high, args, global_scale=state.get("weight_global_scale"))
        state["weight_scale"] = scale if args.scale_dtype is not None else scale.to(torch.bfloat16)
        state["weight_zero_point"] = zero if not args.symmetric else torch.zeros_like(zero)
        packed = package.compress(state, scheme)
        wide = dict(packed)
        if wide["weight_scale"].is_floating_point():
            wide["weight_scale"] = wide["weight_scale"].float()
        if format_name == "nvfp4-pack-quantized":
            # the factor of the whole matrix last, as a runtime applies it
            alone = {k: v for k, v in wide.items() if k != "weight_global_scale"}
            value = package.decompress(alone, scheme)["weight"].float()
            return packed, value * (1 / packed["weight_global_scale"])
        return packed, package.decompress(wide, scheme)["weight"].float()

    config = QuantizationConfig(config_groups={"group_0": scheme}, format=format_name, ignore=["lm_head"],
                                quantization_status="compressed").to_dict()
    config["config_groups"]["group_0"]["format"] = format_name
    return pack, json.loads(json.dumps(config, default=str))


def ordered(**weights):
    """Columns in groups by activation, which compressed-tensors wrote up to 0.12: the package of that version is the
    witness."""
    from compressed_tensors.compressors import PackedQuantizationCompressor
    from compressed_tensors.compressors.quantized_compressors.pack_quantized import unpack_from_int32
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize
    from compressed_tensors.quantization.utils import calculate_qparams

    args = QuantizationArgs(**weights, actorder="group")
    package = PackedQuantizationCompressor()

    def pack(w):
        rows, columns = w.shape
        order = torch.randperm(columns)
        index = torch.empty(columns, dtype=torch.int32)
        index[order] = torch.arange(columns, dtype=torch.int32) // args.group_size
        groups = w[:, torch.argsort(index)].reshape(rows, -1, args.group_size)
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
        scale = scale.to(torch.bfloat16)
        packed = package.compress_weight(weight=w, scale=scale.float(), quantization_args=args, zero_point=zero,
                                         g_idx=index)
        packed.update(weight_scale=scale, weight_g_idx=index)
        if args.symmetric:
            packed.pop("weight_zero_point", None)
        code = unpack_from_int32(packed["weight_packed"], args.num_bits, w.shape)
        return packed, dequantize(x_q=code, scale=scale.float(), zero_point=zero, g_idx=index).float()

    scheme = {"targets": ["Linear"], "weights": json.loads(args.model_dump_json()), "format": "pack-quantized"}
    return pack, {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
                  "quantization_status": "compressed", "config_groups": {"group_0": scheme}}


def fp8(tile, name="weight_scale_inv", method="fp8", scale_type=torch.float32):
    def pack(w):
        rows, columns = w.shape
        tall, wide = tile or (rows, columns)
        up, across = -(-rows // tall), -(-columns // wide)
        padded = torch.nn.functional.pad(w, (0, across * wide - columns, 0, up * tall - rows))
        scale = padded.reshape(up, tall, across, wide).abs().amax((1, 3)) / 448
        if scale_type == torch.uint8:
            exponent = torch.ceil(torch.log2(scale))
            stored, scale = (exponent + 127).to(torch.uint8), torch.exp2(exponent)
        else:
            stored = scale = scale.to(scale_type)
        spread = scale.float().repeat_interleave(tall, 0).repeat_interleave(wide, 1)[:rows, :columns]
        code = (w / spread).to(torch.float8_e4m3fn)
        state = {"weight": code, name: stored if tile else stored.reshape(())}
        return state, code.float() * spread

    config = {"quant_method": method, "activation_scheme": "dynamic"}
    if tile:
        config["weight_block_size"] = list(tile)
    if scale_type == torch.uint8:
        config["scale_fmt"] = "ue8m0"
    return pack, config


def modelopt_nvfp4():
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])

    def pack(w):
        rows, columns = w.shape
        whole = (w.abs().amax() / (448 * 6)).float()
        groups = w.reshape(rows, columns // 16, 16)
        scale = (groups.abs().amax(-1) / 6 / whole).to(torch.float8_e4m3fn)
        x = groups / (scale.float() * whole)[..., None]
        index = (x.abs()[..., None] - levels).abs().argmin(-1)
        code = (index | torch.where(x < 0, 8, 0)).reshape(rows, columns).to(torch.uint8)
        value = (torch.where(x < 0, -levels[index], levels[index]) * scale.float()[..., None]).reshape(rows, columns)
        state = {"weight": code[:, 0::2] | code[:, 1::2] << 4, "weight_scale": scale, "weight_scale_2": whole,
                 "input_scale": torch.tensor(0.01)}
        return state, value * whole

    return pack, {"quant_method": "modelopt", "quant_algo": "NVFP4", "producer": {"name": "modelopt"}}


def bnb4(kind, nested, block=64):
    import bitsandbytes.functional as bnb

    def pack(w):
        code, state = bnb.quantize_4bit(w.to(torch.bfloat16), blocksize=block, quant_type=kind,
                                        compress_statistics=nested)
        packed = {"weight": code}
        packed.update({"weight." + k: v for k, v in state.as_dict(packed=True).items()})
        absmax = state.absmax
        if nested:
            absmax = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
        nibbles = torch.stack([code.flatten() >> 4, code.flatten() & 15], 1).flatten().long()
        value = state.code[nibbles] * absmax.repeat_interleave(block)[: nibbles.numel()]
        ours = bnb.dequantize_4bit(code, state)
        assert torch.equal(ours, value.reshape(w.shape).to(torch.bfloat16))
        return packed, value.reshape(w.shape)

    return pack, {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False,
                  "bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": nested}


def bnb8():
    import bitsandbytes.functional as bnb

    def pack(w):
        code, scale, _ = bnb.int8_vectorwise_quant(w.to(torch.float16))
        packed = {"weight": code, "SCB": scale, "weight_format": torch.tensor(0, dtype=torch.uint8)}
        return packed, bnb.int8_vectorwise_dequant(code, scale).float()

    return pack, {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True}


def bitnet(linear_class):
    def pack(w):
        from transformers.integrations.bitnet import pack_weights

        scale = w.abs().mean().to(torch.bfloat16)
        code = (w / scale.float()).round().clamp(-1, 1)
        divide = linear_class == "bitlinear"
        stored = (1 / scale).to(torch.bfloat16) if divide else scale
        value = code / stored.float() if divide else code * stored.float()
        return {"weight": pack_weights(code.clone()), "weight_scale": stored.reshape(1)}, value + 0.0

    return pack, {"quant_method": "bitnet", "linear_class": linear_class, "quantization_mode": "offline"}


def exl3(code, first_bits, signs=False):
    """Trellises of any bits, every number of bits from first_bits to 8 or 1, as tests/interop/packed.py decodes them."""
    sys.path.insert(0, os.path.join(HERE, "..", "interop"))
    import numpy as np
    import packed

    rng = np.random.default_rng(11)
    bits = iter([(first_bits + i - 1) % 8 + 1 for i in range(len(SHAPES))])

    def pack(w):
        parts = packed.random_exl3(*w.shape, next(bits), code, rng, signs=signs)
        if code == "mul1" and w.shape[1] == EMBD and w.shape[0] < FF:
            parts["bias"] = rng.standard_normal(128).astype(np.float16)
        return {k: torch.from_numpy(v) for k, v in parts.items()}, torch.from_numpy(packed.unpack_exl3(parts, code))

    return pack, {"quant_method": "exl3", "version": "1.4.1", "bits": 4.0, "head_bits": 6, "codebook": code}


PACKED = {
    "ct_w4": lambda: compressed("pack-quantized", num_bits=4, strategy="group", group_size=32),
    "ct_w4_asymmetric": lambda: compressed("pack-quantized", num_bits=4, strategy="group", group_size=32,
                                           symmetric=False, zp_dtype=torch.int8),
    "ct_w4_ordered": lambda: ordered(num_bits=4, strategy="group", group_size=32, symmetric=False),
    "ct_w3": lambda: compressed("pack-quantized", num_bits=3, strategy="group", group_size=16),
    "ct_w8": lambda: compressed("pack-quantized", num_bits=8, strategy="channel"),
    "ct_int8": lambda: compressed("int-quantized", num_bits=8, strategy="channel"),
    "ct_int8_asymmetric": lambda: compressed("naive-quantized", num_bits=8, strategy="tensor", symmetric=False,
                                             zp_dtype=torch.int8),
    "ct_fp8": lambda: compressed("float-quantized", num_bits=8, type="float", strategy="tensor"),
    "ct_fp8_channel": lambda: compressed("float-quantized", num_bits=8, type="float", strategy="channel"),
    "ct_fp8_block": lambda: compressed("float-quantized", num_bits=8, type="float", strategy="block",
                                       block_structure=[48, 40]),
    "ct_nvfp4": lambda: compressed("nvfp4-pack-quantized", num_bits=4, type="float", strategy="tensor_group",
                                   group_size=16, scale_dtype=torch.float8_e4m3fn, zp_dtype=torch.float8_e4m3fn),
    "ct_mxfp4": lambda: compressed("mxfp4-pack-quantized", num_bits=4, type="float", strategy="group", group_size=32,
                                   scale_dtype=torch.uint8, zp_dtype=torch.uint8),
    "ct_mxfp6": lambda: compressed("mxfp6-pack-quantized", num_bits=6, type="float", strategy="group", group_size=32,
                                   scale_dtype=torch.uint8, zp_dtype=torch.uint8),
    "ct_mxfp8": lambda: compressed("mxfp8-quantized", num_bits=8, type="float", strategy="group", group_size=32,
                                   scale_dtype=torch.uint8, zp_dtype=torch.uint8),
    "fp8_tile": lambda: fp8((48, 40)),
    "fp8_tile_exponent": lambda: fp8((32, 32), scale_type=torch.uint8),
    "fp8_tensor": lambda: fp8(None, name="weight_scale"),
    "modelopt_fp8": lambda: fp8(None, name="weight_scale", method="modelopt"),
    "modelopt_nvfp4": modelopt_nvfp4,
    "bnb_nf4": lambda: bnb4("nf4", False),
    "bnb_nf4_nested": lambda: bnb4("nf4", True),
    "bnb_fp4": lambda: bnb4("fp4", False),
    "bnb_int8": bnb8,
    "exl3_3inst": lambda: exl3("3inst", 1),
    "exl3_mcg": lambda: exl3("mcg", 2, signs=True),
    "exl3_mul1": lambda: exl3("mul1", 3),
    "bitnet": lambda: bitnet("bitlinear"),
    "bitnet_auto": lambda: bitnet("autobitlinear"),
}


def make(name):
    torch.manual_seed(7)
    pack, quantization = PACKED[name]()
    here = os.path.join(HERE, name)
    os.makedirs(here, exist_ok=True)
    plain = {"model.embed_tokens.weight": torch.randn(VOCAB, EMBD), "model.norm.weight": 1 + torch.randn(EMBD) / 8,
             "model.layers.0.input_layernorm.weight": 1 + torch.randn(EMBD) / 8,
             "model.layers.0.post_attention_layernorm.weight": 1 + torch.randn(EMBD) / 8}
    tensors = {k: v.to(torch.bfloat16) for k, v in plain.items()}
    digests = []
    for module, shape in SHAPES.items():
        w = torch.randn(shape) * (0.1 + torch.rand(shape[0], 1)) / 4
        if not name.startswith(("ct_w", "ct_int")): # whose scale then is no binary16 number
            w[3] = 0
        packed, value = pack(w)
        tensors.update({f"model.layers.0.{module}.{k}": v.contiguous().clone() for k, v in packed.items()})
        data = (value + 0.0).contiguous().numpy().astype("<f4").tobytes()
        digests.append(f"{hashlib.sha256(data).hexdigest()}  {module}\n")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": EMBD,
              "intermediate_size": FF, "num_hidden_layers": 1, "num_attention_heads": HEADS,
              "num_key_value_heads": KV, "vocab_size": VOCAB, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
              "rope_theta": 10000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
              "quantization_config": quantization}
    if any(k.endswith(".bias") for k in tensors):
        config["attention_bias"] = True
    with open(os.path.join(here, "config.json"), "w") as f:
        json.dump(config, f, indent=1, sort_keys=True)
    save_file(tensors, os.path.join(here, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(here, "weights.sha256"), "w") as f:
        f.writelines(digests)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or PACKED:
        make(wanted)
