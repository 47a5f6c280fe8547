function compileConstructor(dtype, dimension) {
  // The library writes a class for each type and dimension as text and compiles it, which the page's policy forbids.
  // This is one class for all of them, with the same interface (ndarray 1.1).
  const isGiven = at => typeof at === "number" && at >= 0
  class View {
    constructor(data, shape, stride, offset) {
      this.data = data
      this.shape = shape
      this.stride = stride
      this.offset = offset | 0
      this.dtype = dtype
      this.dimension = dimension
    }
    get size() {
      return dimension < 0 ? 0 : this.shape.reduce((size, length) => size * length, 1)
    }
    get order() {
      return order.call(this)
    }
    index(...at) {
      return dimension < 0 ? -1 : at.reduce((sum, place, axis) => sum + this.stride[axis] * place, this.offset)
    }
    get(...at) {
      if (dimension < 0) return undefined
      const place = this.index(...at.slice(0, dimension))
      return dtype === "generic" ? this.data.get(place) : this.data[place]
    }
    set(...at) {
      if (dimension < 0) return undefined
      const place = this.index(...at.slice(0, dimension))
      return dtype === "generic" ? this.data.set(place, at[dimension]) : (this.data[place] = at[dimension])
    }
    lo(...from) {
      const cut = this.shape.map((_, axis) => (isGiven(from[axis]) ? from[axis] | 0 : 0))
      return this.with(this.shape.map((length, axis) => length - cut[axis]), this.stride, this.index(...cut))
    }
    hi(...to) {
      const shape = this.shape.map((length, axis) => (isGiven(to[axis]) ? to[axis] | 0 : length))
      return this.with(shape, this.stride, this.offset)
    }
    step(...by) {
      const steps = this.shape.map((_, axis) => (typeof by[axis] === "number" ? by[axis] | 0 : 1))
      const offset = steps.reduce(
        (sum, step, axis) => sum + (step < 0 ? this.stride[axis] * (this.shape[axis] - 1) : 0),
        this.offset
      )
      const shape = this.shape.map((length, axis) => Math.ceil(length / Math.abs(steps[axis])))
      return this.with(shape, this.stride.map((stride, axis) => stride * steps[axis]), offset)
    }
    transpose(...axes) {
      const from = this.shape.map((_, axis) => (axes[axis] === undefined ? axis : axes[axis] | 0))
      return this.with(from.map(axis => this.shape[axis]), from.map(axis => this.stride[axis]), this.offset)
    }
    pick(...at) {
      const kept = [...this.shape.keys()].filter(axis => !isGiven(at[axis]))
      const offset = this.index(...this.shape.map((_, axis) => (isGiven(at[axis]) ? at[axis] | 0 : 0)))
      const stride = kept.map(axis => this.stride[axis])
      return wrappedNDArrayCtor(this.data, kept.map(axis => this.shape[axis]), stride, offset)
    }
    with(shape, stride, offset) {
      return new View(this.data, shape, stride, offset)
    }
  }
  return (data, shape = [], stride = [], offset = 0) => new View(data, [...shape], [...stride], offset)
}

function compileConstructorFromText(dtype, dimension) {
