"""A reader of models that Keras 1, Keras 2 and tf.keras wrote: Keras 3 opens few of them."""
