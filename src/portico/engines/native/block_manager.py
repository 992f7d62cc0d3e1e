"""Which blocks of the KV cache are whose. Knows numbers only, no tensors."""

from __future__ import annotations

from portico.engines.native.sequence import Sequence


class BlockManager:
    """Hands out blocks of `block_size` tokens and counts who shares them.

    A block with more than one owner is never written: the sequence that must write gets a copy first.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        # The block that was freed last is handed out first: it is the likeliest to be in the processor's cache.
        self._free = list(range(num_blocks - 1, -1, -1))
        self._num_owners = [0] * num_blocks

    @property
    def num_free_blocks(self) -> int:
        """Blocks that nobody owns."""
        return len(self._free)

    def num_blocks_for(self, num_tokens: int) -> int:
        """Blocks that hold so many tokens."""
        return -(-num_tokens // self.block_size)

    def can_allocate(self, num_tokens: int, num_spare_blocks: int) -> bool:
        """Whether a sequence of so many tokens fits and leaves the spare blocks free."""
        return self.num_blocks_for(num_tokens) + num_spare_blocks <= len(self._free)

    def allocate(self, sequence: Sequence) -> None:
        """Gives a sequence without blocks those for all its tokens."""
        assert not sequence.block_table
        for _ in range(self.num_blocks_for(len(sequence.token_ids))):
            sequence.block_table.append(self._take())

    def can_append(self, sequence: Sequence) -> bool:
        """Whether `append` would find the block that it may need."""
        return bool(self._free) or not self._needs_block(sequence)

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
        """Takes a sequence's blocks away; what was computed for it is lost to it."""
        for block in reversed(sequence.block_table):
            self._num_owners[block] -= 1
            if self._num_owners[block] == 0:
                self._free.append(block)
        sequence.block_table.clear()
        sequence.num_computed_tokens = 0

    def _needs_block(self, sequence: Sequence) -> bool:
        place = sequence.num_computed_tokens // self.block_size
        if place == len(sequence.block_table):
            return True
        return self._num_owners[sequence.block_table[place]] > 1

    def _take(self) -> int:
        block = self._free.pop()
        self._num_owners[block] = 1
        return block
