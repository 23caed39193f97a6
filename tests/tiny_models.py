"""Small random models in transformers' own format, made in a second."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from llmseg_cli.knowledge.weights.transformers import load_transformers

TEXT = """
the left right atrium heart chamber behind in front of body and is a thin wall round blood
pancreas lies exclude include bright dark . , user assistant
"""
WORDS = TEXT.split()
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)


def _tokenizer(**options):
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if options.pop("markers", False):
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    return load_transformers().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", **options
    )


def write_encoder(folder: Path, *, length: int = 32, seed: int = 0) -> Path:
    """A BERT of width 12 with two layers."""
    hf = load_transformers()
    torch.manual_seed(seed)
    config = hf.BertConfig(
        vocab_size=len(WORDS) + len(SPECIAL),
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=length,
    )
    hf.BertModel(config).save_pretrained(folder)
    _tokenizer(
        markers=True, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return folder


def write_two_towers(folder: Path, kind: str = "clip") -> Path:
    """A CLIP or SigLIP, with its tower for text and that for pictures, as they are published."""
    hf = load_transformers()
    small = {
        "hidden_size": 12,
        "intermediate_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
    }
    words = {**small, "vocab_size": len(WORDS) + len(SPECIAL), "max_position_embeddings": 32}
    words |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config_class, model_class = {
        "clip": (hf.CLIPConfig, hf.CLIPModel),
        "siglip": (hf.SiglipConfig, hf.SiglipModel),
    }[kind]
    config = config_class(
        text_config=words, vision_config={**small, "image_size": 32, "patch_size": 16}
    )
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    _tokenizer(
        markers=True,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "attention_mask"] if kind == "clip" else ["input_ids"],
    ).save_pretrained(folder)
    return folder


def write_language_model(folder: Path, *, chat: bool = True, seed: int = 0) -> Path:
    """A Llama of width 24 with two layers; what it writes is noise of the words above."""
    hf = load_transformers()
    torch.manual_seed(seed)
    config = hf.LlamaConfig(
        vocab_size=len(WORDS) + len(SPECIAL),
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    hf.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = _tokenizer(pad_token="[PAD]", bos_token="[CLS]", eos_token="[SEP]")
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    tokenizer.save_pretrained(folder)
    return folder


def write_pooling(folder: Path, mode: str, *, normalize: bool) -> None:
    """What sentence-transformers keeps beside a model."""
    (folder / "1_Pooling").mkdir()
    settings = {f"pooling_mode_{name}": name == mode for name in ("mean_tokens", "cls_token")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    kinds = ["Transformer", "Pooling", *["Normalize"] * normalize]
    modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))


def write_image_encoder(folder: Path, kind: str = "resnet") -> Path:
    """An image encoder with feature maps of 4, 8, 16 and 32 pixels; or a model that has none."""
    library = load_transformers()
    wide: dict[str, Any] = {"hidden_sizes": [4, 8, 12, 16], "depths": [1, 1, 1, 1]}
    small: dict[str, Any] = {
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 8,
    }
    configs = {
        "resnet": lambda: library.ResNetConfig(embedding_size=4, layer_type="basic", **wide),
        "convnextv2": lambda: library.ConvNextV2Config(**wide),
        "swin": lambda: library.SwinConfig(
            embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=4, image_size=64
        ),
        "bert": lambda: library.BertConfig(vocab_size=10, **small),
        "dinov2": lambda: library.Dinov2Config(**small),
    }
    torch.manual_seed(0)
    library.AutoModel.from_config(configs[kind]()).save_pretrained(folder)
    return folder


def write_llama(folder: Path, kind: str = "llama", *, layers: int = 3, **settings: Any) -> Path:
    """A language model whose norms and weights are drawn, with grouped heads; *settings* win."""
    library = load_transformers()
    configs = {"llama": library.LlamaConfig, "mistral": library.MistralConfig}
    sizes: dict[str, Any] = {
        "vocab_size": 11,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "rms_norm_eps": 1e-6,
    }
    config = configs[kind](**sizes | settings)
    torch.manual_seed(0)
    model = library.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


SEEN = "<image>"  # the token of a picture
SHOWING_TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}" + SEEN + "{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def write_vision_model(folder: Path, *, seed: int = 0) -> Path:
    """A LLaVA of a CLIP and a Llama of width 16 with two layers each, and its processor."""
    hf = load_transformers()
    tokenizer = _tokenizer(pad_token="[PAD]", bos_token="[CLS]", eos_token="[SEP]")
    tokenizer.add_special_tokens({"additional_special_tokens": [SEEN]})
    small = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    words = hf.LlamaConfig(
        **small,
        vocab_size=len(tokenizer),
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**small, image_size=16, patch_size=8, projection_dim=16),
        text_config=words,
        image_token_index=tokenizer.convert_tokens_to_ids(SEEN),
        vision_feature_layer=-1,
    )
    torch.manual_seed(seed)
    model = hf.LlavaForConditionalGeneration(config)
    for weights in model.parameters():  # larger than they start, so that pictures matter
        weights.data.mul_(8)
    model.save_pretrained(folder)
    hf.LlavaProcessor(
        image_processor=hf.CLIPImageProcessor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=SEEN,
        chat_template=SHOWING_TEMPLATE,
    ).save_pretrained(folder)
    return folder
