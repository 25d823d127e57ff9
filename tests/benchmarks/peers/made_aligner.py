"""Makes stand-ins for what whisperX fetches to align: a network of that size with random weights.

What it aligns is meaningless; what it costs is what the network from the hub costs. The splitter
of sentences gets empty lists of abbreviations. Run it with whisperX's own Python; its argument is
the folder, which becomes its NLTK_DATA too.
"""

import json
import sys
from pathlib import Path

from transformers import (  # pyright: ignore[reportMissingImports]
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

SENTENCES = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]


def main() -> None:
    """Writes the network, as large as wav2vec 2.0 base, and its letters."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    letters = folder / "vocab.json"
    letters.write_text(json.dumps({letter: place for place, letter in enumerate(LETTERS)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(letters))
    reader = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    Wav2Vec2Processor(feature_extractor=reader, tokenizer=tokenizer).save_pretrained(folder)
    network = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(LETTERS), pad_token_id=0))
    network.save_pretrained(folder)
    splitter = folder / "tokenizers" / "punkt_tab" / "english"
    splitter.mkdir(parents=True)
    for name in SENTENCES:
        (splitter / name).touch()


if __name__ == "__main__":
    main()
