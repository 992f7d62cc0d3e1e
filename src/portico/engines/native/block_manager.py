"""Which blocks of the KV cache are whose, and which beginnings of prompts they hold. Knows numbers only, no tensors."""

from __future__ import annotations

import hashlib
from array import array

from portico.engines.native.sequence import Sequence


class BlockManager:
    """Hands out blocks of `block_size` tokens and counts who shares them.

    A block with more than one owner is never written: the sequence that must write gets a copy first.

    With `caches_prefixes` a full block that was remembered is known by a key: the digest of its tokens and of the
    key of the block before it, the first one's being that of the job's salt. A sequence that begins with the same
    tokens shares the block, also after its owners have gone, until it is handed out again; the block that was freed
    longest ago is the first.
    """

    def __init__(self, num_blocks: int, block_size: int, *, caches_prefixes: bool = False) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.caches_prefixes = caches_prefixes
        # The block that was freed last is handed out first: it is the likeliest to be in the processor's cache.
        self._blank = list(range(num_blocks - 1, -1, -1))
        # Free blocks that have a key, those freed longest ago first; a dict for its order.
        self._reusable: dict[int, None] = {}
        self._num_owners = [0] * num_blocks
        self._keys: list[bytes | None] = [None] * num_blocks
        self._blocks: dict[bytes, int] = {}

    @property
    def num_free_blocks(self) -> int:
        """Blocks that nobody owns."""
        return len(self._blank) + len(self._reusable)

    def num_blocks_for(self, num_tokens: int) -> int:
        """Blocks that hold so many tokens."""
        return -(-num_tokens // self.block_size)

    def cached_blocks(self, sequence: Sequence) -> list[int]:
        """The blocks that hold the sequence's beginning already, but never all of it: its last token is evaluated."""
        if not self.caches_prefixes or sequence.job.request.prompt_logprobs is not None:
            return []
        found: list[int] = []
        for index in range((len(sequence.token_ids) - 1) // self.block_size):
            block = self._blocks.get(self.key(sequence, index))
            if block is None:
                break
            found.append(block)
        return found

    def key(self, sequence: Sequence, index: int) -> bytes:
        """The key of a sequence's full block."""
        keys = sequence.block_keys
        while len(keys) <= index:
            # A digest, because other clients' prompts must not be found by numbers that collide.
            before = keys[-1] if keys else hashlib.sha256(sequence.job.request.cache_salt.encode()).digest()
            tokens = sequence.token_ids[len(keys) * self.block_size : (len(keys) + 1) * self.block_size]
            keys.append(hashlib.sha256(before + array("I", tokens).tobytes()).digest())
        return keys[index]

    def can_allocate(self, sequence: Sequence, cached: list[int], num_spare_blocks: int) -> bool:
        """Whether all tokens of a sequence fit beside its cached blocks, and leave the spare blocks free."""
        num_shared = sum(self._num_owners[block] > 0 for block in cached)
        num_needed = self.num_blocks_for(len(sequence.token_ids)) - num_shared
        return num_needed + num_spare_blocks <= self.num_free_blocks

    def allocate(self, sequence: Sequence, cached: list[int]) -> None:
        """Gives a sequence without blocks its cached ones, whose tokens need not be computed, and the rest."""
        assert not sequence.block_table
        for block in cached:
            if self._num_owners[block] == 0:
                del self._reusable[block]
            self._num_owners[block] += 1
        sequence.block_table.extend(cached)
        sequence.num_computed_tokens = len(cached) * self.block_size
        for _ in range(self.num_blocks_for(len(sequence.token_ids)) - len(cached)):
            sequence.block_table.append(self._take())

    def remember(self, sequence: Sequence, start: int) -> None:
        """Makes known what was computed from place `start` on.

        Only what has the bits that a prefill would give it: a cached prefix must not change an answer.
        """
        if not self.caches_prefixes:
            return
        for index in range(start // self.block_size, sequence.num_computed_tokens // self.block_size):
            key, block = self.key(sequence, index), sequence.block_table[index]
            if key not in self._blocks and self._keys[block] is None:
                self._blocks[key] = block
                self._keys[block] = key

    def can_append(self, sequence: Sequence) -> bool:
        """Whether `append` would find the block that it may need."""
        return self.num_free_blocks > 0 or not self._needs_block(sequence)

    def append(self, sequence: Sequence) -> tuple[int, int] | None:
        """Makes the place of the next token to be computed writable.

        Returns:
            Source and destination of the block copy that must be made first, or None.
        """
        place = sequence.num_computed_tokens // self.block_size
        if place == len(sequence.block_table):
            sequence.block_table.append(self._take())
            return None
        shared = sequence.block_table[place]
        if self._num_owners[shared] == 1:
            return None
        own = self._take()
        self._num_owners[shared] -= 1
        sequence.block_table[place] = own
        return shared, own

    def fork(self, parent: Sequence, child: Sequence) -> None:
        """Lets a sequence without blocks share all blocks of another."""
        assert not child.block_table
        for block in parent.block_table:
            self._num_owners[block] += 1
        child.block_table.extend(parent.block_table)

    def free(self, sequence: Sequence) -> None:
        """Takes a sequence's blocks away; what was computed for it is lost to it, unless it is found in the cache."""
        for block in reversed(sequence.block_table):
            self._num_owners[block] -= 1
            if self._num_owners[block] > 0:
                continue
            if self._keys[block] is None:
                self._blank.append(block)
            else:
                self._reusable[block] = None
        sequence.block_table.clear()
        sequence.num_computed_tokens = 0

    def _needs_block(self, sequence: Sequence) -> bool:
        place = sequence.num_computed_tokens // self.block_size
        if place == len(sequence.block_table):
            return True
        return self._num_owners[sequence.block_table[place]] > 1

    def _take(self) -> int:
        if self._blank:
            block = self._blank.pop()
        else:
            block = next(iter(self._reusable))
            del self._reusable[block]
            key, self._keys[block] = self._keys[block], None
            assert key is not None
            del self._blocks[key]
        self._num_owners[block] = 1
        return block
