"""Learned queries gather text and image at the bottleneck, and every voxel asks them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llmseg_cli.models.text_features import TextFeatures, picked

QUERIES, WIDTH, HEADS = 32, 64, 4
SPREAD = 0.02  # of the queries and the classes, at first


class QueryAttention(nn.Module):
    r"""$\tilde x = x + W_o\,\mathrm{Att}(x, q_3)$ with queries that have seen text and image.

    $q_1 = q + \mathrm{Att}(q, t)$, $q_2 = q_1 + \mathrm{Att}(q_1, x)$, $q_3 = q_2 + f(q_2)$
    with learned $q$, an MLP $f$, the token vectors $t$ of a text of each class and the voxels $x$
    of the bottleneck; what attends and what is attended to is normalized first. $W_o$ starts at
    zero, so that training starts from the network without text. No voxel has a position: permuting
    them permutes the answer.

    In evaluation all texts of a class are attended to together.

    Ours, after the Q-Former of BLIP-2, whose learned queries attend to image tokens and are read by
    a language model; here they attend to text, too, and the voxels read them. It has 12 layers of
    width 768, and this one layer of width 64.

    Args:
        text: Texts that the network will be given, for their sizes.
        channels: Channels of the bottleneck.
        grid: Not used; every voxel is treated alike.

    Raises:
        ValueError: If the texts have no token vectors.

    References:
        Li et al., BLIP-2, ICML 2023. arXiv:2301.12597; 32 queries as there and in PCLmed
        (arXiv:2306.05642).
    """

    def __init__(self, text: TextFeatures, *, channels: int, grid: Sequence[int]) -> None:
        super().__init__()
        if text.tokens is None:
            raise ValueError("query-attention attends to token vectors, and the texts have none")
        classes = text.token_ids.shape[-3]
        self.queries = nn.Parameter(SPREAD * torch.randn(QUERIES, WIDTH))
        self.classes = nn.Parameter(SPREAD * torch.randn(classes, 1, WIDTH))
        self.words = nn.Linear(text.tokens.shape[-1], WIDTH)
        self.voxels = nn.Linear(channels, WIDTH)
        self.word_norm, self.voxel_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(4))
        self.to_words, self.to_voxels, self.to_queries = (
            nn.MultiheadAttention(WIDTH, HEADS, batch_first=True) for _ in range(3)
        )
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )
        self.output = nn.Linear(WIDTH, channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, bottleneck: Tensor, text: TextFeatures) -> Tensor:
        voxels = self.voxel_norm(self.voxels(bottleneck.float().flatten(2).mT))  # (B, V, WIDTH)
        words, padding = self._words(text, batch=len(bottleneck))
        queries = self.queries.expand(len(bottleneck), -1, -1)
        queries = (
            queries
            + self.to_words(
                self.norms[0](queries), words, words, key_padding_mask=padding, need_weights=False
            )[0]
        )
        queries = (
            queries + self.to_voxels(self.norms[1](queries), voxels, voxels, need_weights=False)[0]
        )
        queries = queries + self.mlp(self.norms[2](queries))
        said = self.norms[3](queries)
        heard = self.to_queries(voxels, said, said, need_weights=False)[0]
        guidance = self.output(heard).mT.view_as(bottleneck)
        return bottleneck + guidance.to(bottleneck.dtype)

    def _words(self, text: TextFeatures, *, batch: int) -> tuple[Tensor, Tensor]:
        """Tokens `(B, M, WIDTH)` of the texts that are attended to, and which are padding."""
        assert text.tokens is not None
        tokens, mask = text.tokens, text.mask
        is_of_cases = mask.ndim == 4
        if self.training:
            classes, texts = mask.shape[-3:-1]
            index = torch.randint(texts, (batch, classes), device=mask.device)
            tokens = picked(tokens, index, of_cases=is_of_cases).unsqueeze(-3)
            mask = picked(mask, index, of_cases=is_of_cases).unsqueeze(-2)
        elif not is_of_cases:
            tokens = tokens.expand(batch, *tokens.shape)
            mask = mask.expand(batch, *mask.shape)
        words = self.words(tokens) + self.classes.unsqueeze(1)  # (B, N, T, L, WIDTH)
        return self.word_norm(words.flatten(1, 3)), ~mask.flatten(1)
