"""An image set that anybody can make: letters and digits in the fonts of Debian, 28 x 28 pixels, labelled by character.

    uv run python tests/benchmarks/glyphs.py glyphs.npz [--sheet glyphs.png]

Downloads the packages below by `apt-get download` (no root, nothing is installed; `apt-get update` first) and draws
each of the 62 characters once in every face, centred, at a size and a shift of its own. glyphs.npz holds X (n, 784)
float16 within [0, 1], y (n,) and `classes`, the characters: what `maps.py` takes. The same packages give the same
file. Images that equal an earlier one are left out, as are faces that lack a character.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from string import ascii_letters, digits

import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CHARACTERS = digits + ascii_letters
SIDE = 28
SIZES = (20, 21, 22, 23, 24)
SHIFTS = (-1, 0, 1)
PACKAGES = """
    fonts-adf-accanthis fonts-adf-gillius fonts-adf-irianis fonts-adf-mekanus fonts-adf-romande fonts-adf-switzera
    fonts-adf-tribun fonts-adf-universalis fonts-adf-verana fonts-b612 fonts-cabin fonts-cmu fonts-comfortaa
    fonts-courier-prime fonts-dejavu-core fonts-dejavu-extra fonts-dosis fonts-dustin fonts-ebgaramond fonts-firacode
    fonts-freefont-otf fonts-georgewilliams fonts-go fonts-inter fonts-jetbrains-mono fonts-junicode fonts-karla
    fonts-lato fonts-league-mono fonts-league-spartan fonts-liberation fonts-linuxlibertine fonts-lmodern fonts-manrope
    fonts-mplus fonts-open-sans fonts-paratype fonts-roboto-unhinted fonts-sora fonts-stix fonts-texgyre
    fonts-tlwg-purisa-ttf fonts-tlwg-umpush-ttf fonts-urw-base35 fonts-vollkorn fonts-yanone-kaffeesatz fonts-yrsa-rasa
"""


def unpack(folder: Path) -> list[Path]:
    """Download the packages and return their faces, in a fixed order."""
    subprocess.run(["apt-get", "download", "-qq", *PACKAGES.split()], cwd=folder, check=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return sorted(file for kind in ("ttf", "otf") for file in folder.rglob(f"*.{kind}") if has_all_characters(file))


def has_all_characters(face: Path) -> bool:
    """Whether a face draws all the characters itself."""
    found = FT2Font(str(face)).get_charmap()
    return all(ord(character) in found for character in CHARACTERS)


def draw_face(face: Path, number: int) -> Iterator[NDArray[np.uint8]]:
    """Each character in `face`, uint8 (28, 28)."""
    generator = np.random.Generator(np.random.Philox(key=[0, number]))
    fonts = [ImageFont.truetype(str(face), size) for size in SIZES]
    for character in CHARACTERS:
        font, shift = fonts[generator.integers(len(fonts))], generator.choice(SHIFTS, 2)
        yield draw(font, character, *map(int, shift))


def draw(font: ImageFont.FreeTypeFont, character: str, right: int, down: int) -> NDArray[np.uint8]:
    """One character, white on black, in the middle but for the shift."""
    left, top, end, bottom = font.getbbox(character)
    place = (SIDE - left - end) // 2 + right, (SIDE - top - bottom) // 2 + down
    image = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(image).text(place, character, fill=255, font=font)
    return np.asarray(image)


def draw_all(faces: list[Path]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images that differ, uint8 (n, 784), and which character each is."""
    images = np.stack([image.ravel() for number, face in enumerate(faces) for image in draw_face(face, number)])
    _, first = np.unique(images, axis=0, return_index=True)
    kept = np.sort(first[images[first].any(axis=1)])  # a face may have a character that it draws as nothing
    return images[kept], kept % len(CHARACTERS)


def draw_sheet(images: NDArray[np.uint8], y: NDArray[np.int64], columns: int = 24) -> Image.Image:
    """Some of each character, a line per character."""
    chosen = [np.random.default_rng(0).choice(np.flatnonzero(y == code), columns) for code in range(len(CHARACTERS))]
    lines = [np.hstack(images[line].reshape(-1, SIDE, SIDE)) for line in chosen]
    return Image.fromarray(np.vstack(lines))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--sheet", type=Path, help="a PNG to look at")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        faces = unpack(Path(folder))
        images, y = draw_all(faces)
    np.savez_compressed(asked.file, X=(images / 255).astype(np.float16), y=y, classes=np.array(list(CHARACTERS)))
    print(f"{len(images):,} images of {len(CHARACTERS)} characters in {len(faces)} faces: {asked.file}")
    if asked.sheet:
        draw_sheet(images, y).save(asked.sheet)


if __name__ == "__main__":
    main()
