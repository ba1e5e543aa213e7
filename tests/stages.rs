//! What `ablate stages` tells, on kinds of every shape.

mod fakes;

use ablate::reference::{self, KindDoc};

fn kind(name: &str) -> KindDoc {
    KindDoc::of(fakes::registry().get(name).unwrap())
}

#[test]
fn the_overview_has_a_line_a_kind() {
    insta::assert_snapshot!(reference::overview(&reference::all(&fakes::registry())), @r"
    Embed       Embeds images with an encoder.
    GnnRefine   Refines embeddings by message passing.
    Images      A data set of labelled images.
    KnnGraph    The exact graph of nearest neighbours.
    LinearEval  A linear probe.
    Pretrain    Trains an encoder without labels.
    Split       Divides embeddings into two halves.
    Zoo         Fields of every shape, [N] of them: see `Images`.
    ");
}

#[test]
fn a_kind_is_told_with_every_field_and_type() {
    insta::assert_snapshot!(reference::kind_text(&kind("Pretrain")), @r"
    Pretrain
      Trains an encoder without labels.

      inputs   images: Images
      outputs  encoder: Encoder, curve: Curve
      seeded   yes

      decay: list of number or None = None
          Learning rate after each milestone.

      epochs: whole number from 0 = 1
          Passes over the data.

      method: Method = SimClr(temperature: 0.2)
          The method.

      optimizer: Optimizer = (lr: 0.5, momentum: 0.9)
          The optimiser.

    Method
      How the encoder is trained.

      SimClr
          NT-Xent over two views.

          temperature: number = 0.2
              Softmax temperature.

      NnClr
          Nearest neighbours from a queue as positives.

          queue: whole number from 0, required
              Embeddings kept.

    Optimizer
      Stochastic gradient descent.

      lr: number = 0.5
          Learning rate.

      momentum: number = 0.9
          Momentum.
    ");
    insta::assert_snapshot!(reference::kind_text(&kind("Zoo")), @r#"
    Zoo
      Fields of every shape, [N] of them: see `Images`.

      inputs   none
      outputs  file: File
      seeded   no

      layers: list of Layer, required
          Required.

      size: (whole number from 0, number), required
          A size.

      files: map from string to string = {}
          Files by name.

      layer: Layer = Relu

      on: true or false = false
          A switch.

      optimizer: Optimizer or None = None
          An optional type.

      pair: 2 values in parentheses, each number = (0.0, 0.0)
          A pair.

      shift: whole number from -128 = 0
          Signed.

      text: string = ""
          A letter.

      width: Width = 0
          How wide.

    Layer
      A layer.

      Relu

      Dropout

      Linear(Width)
          Of a width.

      Pair(whole number from 0, whole number from 0)
          Of two.

      Mixed
          Of many, said in a sentence that is long enough to be broken, because a terminal is as wide as
          it is and not any wider than that.

          widths: list of Width = [3, 4]
              Widths.

    Width: whole number from 0
      A width in channels.

    Optimizer
      Stochastic gradient descent.

      lr: number = 0.5
          Learning rate.

      momentum: number = 0.9
          Momentum.
    "#);
    insta::assert_snapshot!(reference::kind_text(&kind("Embed")), @r"
    Embed
      Embeds images with an encoder.

      inputs   encoder: Encoder, images: Images
      outputs  embeddings: Embeddings
      seeded   no
    ");
}

#[test]
fn the_book_has_a_section_a_kind() {
    insta::assert_snapshot!(reference::kind_page(&kind("Images")), @r"
    ## Images

    A data set of labelled images.

    The second paragraph says more.

    Inputs: none.

    Outputs: `images` (Images).

    Unless said above, it does not depend on the seed.

    - `source`: Source, required. Where they come from.

    ### Source

    A source of images.

    - `FashionMnistMini`. The subset in the program.
    - `Folder`. A folder of images, one folder a class.
      - `path`: string, required. The folder, below the project's root.
    ");
    insta::assert_snapshot!(reference::kind_page(&kind("Zoo")), @r#"
    ## Zoo

    Fields of every shape, [N] of them: see `Images`.

    Inputs: none.

    Outputs: `file` (File).

    Unless said above, it does not depend on the seed.

    - `layers`: list of Layer, required. Required.
    - `size`: (whole number from 0, number), required. A size.
    - `files`: map from string to string, default `{}`. Files by name.
    - `layer`: Layer, default `Relu`
    - `on`: `true` or `false`, default `false`. A switch.
    - `optimizer`: Optimizer or `None`, default `None`. An optional type.
    - `pair`: 2 values in parentheses, each number, default `(0.0, 0.0)`. A pair.
    - `shift`: whole number from -128, default `0`. Signed.
    - `text`: string, default `""`. A letter.
    - `width`: Width, default `0`. How wide.

    ### Layer

    A layer.

    - `Relu`
    - `Dropout`
    - `Linear(Width)`. Of a width.
    - `Pair(whole number from 0, whole number from 0)`. Of two.
    - `Mixed`. Of many, said in a sentence that is long enough to be broken, because a terminal is as wide as it is and not any wider than that.
      - `widths`: list of Width, default `[3, 4]`. Widths.

    ### Width

    A width in channels.

    Written as whole number from 0.

    ### Optimizer

    Stochastic gradient descent.

    - `lr`: number, default `0.5`. Learning rate.
    - `momentum`: number, default `0.9`. Momentum.
    "#);
    let page = reference::book_page(&reference::all(&fakes::registry()));
    assert_eq!(page.matches("\n## ").count(), fakes::registry().kinds().count());
}
