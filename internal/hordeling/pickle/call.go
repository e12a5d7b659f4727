// SPDX-License-Identifier: AGPL-3.0-or-later

package pickle

import (
	"math"
	"math/bits"
)

// global pushes an allow-listed symbol.
func (m *machine) global(module, name string) error {
	s := lookupSymbol(module, name)
	switch {
	case s == nil:
		return m.refuse(Unsafe, "the symbol %s %s is not on the list", quote(module), quote(name))
	case s.kind == kindKnownUnsupported:
		return m.refuse(Unsupported, "the symbol %s %s is not needed for textual inversions", quote(module), quote(name))
	}
	m.push(s)
	return nil
}

// persistentID replaces a tuple that names a storage by the storage (hordeling chapter, section 6.3).
func (m *machine) persistentID() error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	if m.dialect == Plain {
		return m.refuse(Corrupt, "a persistent id in a stream that has none")
	}
	t, ok := v.(*Tuple)
	if !ok || len(t.Items) == 0 {
		return m.refuse(Corrupt, "the persistent id is no tuple")
	}
	kind, _ := t.Items[0].(string)
	if m.dialect == Legacy && kind == "module" && len(t.Items) == 4 {
		if _, ok := t.Items[1].(*Symbol); !ok {
			return m.refuse(Corrupt, "the module of a persistent id is no symbol")
		}
		m.push(t.Items[1])
		return nil
	}
	want := 5
	if m.dialect == Legacy {
		want = 6
	}
	if kind != "storage" || len(t.Items) != want {
		return m.refuse(Corrupt, "a persistent id of %d elements that names no storage", len(t.Items))
	}
	s, err := m.storage(t.Items)
	if err != nil {
		return err
	}
	m.push(s)
	return nil
}

func (m *machine) storage(id []Value) (*Storage, error) {
	sym, ok := id[1].(*Symbol)
	if !ok || sym.kind != kindStorageType {
		return nil, m.refuse(Corrupt, "the persistent id has no storage type")
	}
	key, ok := id[2].(string)
	if !ok || !isDecimal(key) {
		return nil, m.refuse(Corrupt, "the storage key is no decimal string")
	}
	count, ok := id[4].(int64)
	if !ok || count < 0 || count > math.MaxInt64/sym.storage.Size {
		return nil, m.refuse(Corrupt, "the element count of storage %s is out of range", key)
	}
	if m.dialect == Legacy && id[5] != nil {
		return nil, m.refuse(Unsupported, "storage %s is a view of another storage", key)
	}
	if s, ok := m.storages[key]; ok {
		if s.Type != sym.storage || s.Count != count {
			return nil, m.refuse(Corrupt, "storage %s is named with two types or sizes", key)
		}
		return s, nil
	}
	if len(m.storages) >= m.limits.Storages {
		return nil, m.refuse(TooComplex, "more than %d storages", m.limits.Storages)
	}
	s := &Storage{Key: key, Type: sym.storage, Count: count}
	m.storages[key] = s
	m.order = append(m.order, s)
	return s, nil
}

// storageKeyDigits is how long a storage key may be: legacy writers used addresses in decimal.
const storageKeyDigits = 20

func isDecimal(s string) bool {
	if s == "" || len(s) > storageKeyDigits {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// reduce is REDUCE: a call. What may be called is decided by the symbol's kind alone (section 7.3).
func (m *machine) reduce() error {
	pair, err := m.popN(2)
	if err != nil {
		return err
	}
	sym, isSymbol := pair[0].(*Symbol)
	args, isTuple := pair[1].(*Tuple)
	if !isSymbol {
		return m.refuse(Unsafe, "a call of something that is no symbol")
	}
	if !isTuple {
		return m.refuse(Unsafe, "a call of %s whose arguments are no tuple", sym)
	}
	var result Value
	switch n := len(args.Items); {
	case sym.kind == kindOpaque:
		result = Opaque{Name: sym.String(), isSet: sym.Name == "set"}
	case sym.kind == kindTensorV2 && (n == 6 || n == 7), sym.kind == kindTensorV1 && n == 4:
		result, err = m.tensor(args.Items[0], args.Items[1], args.Items[2], args.Items[3])
	case sym.kind == kindParameter && n == 3, sym.kind == kindParameterState && n == 4:
		t, ok := args.Items[0].(*Tensor)
		if !ok {
			return m.refuse(Unsafe, "a call of %s on something that is no tensor", sym)
		}
		result = t
	case sym.kind == kindOrderedDict && n == 0:
		result = &Dict{depth: 1}
	case sym.kind == kindOrderedDict && n == 1:
		result, err = m.orderedDict(args.Items[0])
	default:
		return m.refuse(Unsafe, "a call of %s with %d arguments", sym, n)
	}
	if err != nil {
		return err
	}
	m.push(result)
	return nil
}

func (m *machine) orderedDict(arg Value) (Value, error) {
	l, ok := arg.(*List)
	if !ok {
		return nil, m.refuse(Unsafe, "a call of OrderedDict with something else than a list")
	}
	// The same list may be copied many times through the memo, so each copy is paid for.
	if err := m.charge(len(l.Items)); err != nil {
		return nil, err
	}
	d := &Dict{depth: 1}
	for _, item := range l.Items {
		var pair []Value
		switch p := item.(type) {
		case *Tuple:
			pair = p.Items
		case *List:
			pair = p.Items
		}
		if len(pair) != 2 {
			return nil, m.refuse(Unsafe, "a call of OrderedDict with an element that is no pair")
		}
		if err := m.setItem(d, pair[0], pair[1]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (m *machine) tensor(storage, offset, size, stride Value) (Value, error) {
	s, ok := storage.(*Storage)
	if !ok {
		return nil, m.refuse(Unsafe, "a tensor over something that is no storage")
	}
	if m.tensors >= m.limits.Tensors {
		return nil, m.refuse(TooComplex, "more than %d tensors", m.limits.Tensors)
	}
	m.tensors++
	t := &Tensor{Storage: s}
	var err error
	if t.Offset, ok = offset.(int64); !ok || t.Offset < 0 {
		return nil, m.refuse(Corrupt, "the tensor's offset is no count")
	}
	if t.Size, err = m.counts("size", size); err != nil {
		return nil, err
	}
	if t.Stride, err = m.counts("stride", stride); err != nil {
		return nil, err
	}
	if len(t.Size) != len(t.Stride) {
		return nil, m.refuse(Corrupt, "a tensor of %d sizes and %d strides", len(t.Size), len(t.Stride))
	}
	if !t.fits() {
		return nil, m.refuse(Corrupt, "the tensor reaches beyond its storage of %d elements", s.Count)
	}
	return t, nil
}

// counts reads a tuple of integers that are not negative.
func (m *machine) counts(what string, v Value) ([]int64, error) {
	t, ok := v.(*Tuple)
	if !ok {
		return nil, m.refuse(Corrupt, "the tensor's %s is no tuple", what)
	}
	if len(t.Items) > m.limits.Dims {
		return nil, m.refuse(TooComplex, "a tensor of %d dimensions, at most %d are read", len(t.Items), m.limits.Dims)
	}
	out := make([]int64, len(t.Items))
	for i, item := range t.Items {
		n, ok := item.(int64)
		if !ok || n < 0 {
			return nil, m.refuse(Corrupt, "the tensor's %s holds something that is no count", what)
		}
		out[i] = n
	}
	return out, nil
}

// fits tells whether the last element, and so every element, lies within the storage.
func (t *Tensor) fits() bool {
	last := uint64(t.Offset)
	for i, size := range t.Size {
		if size == 0 {
			return true // no element at all
		}
		hi, lo := bits.Mul64(uint64(size-1), uint64(t.Stride[i]))
		sum, carry := bits.Add64(last, lo, 0)
		if hi != 0 || carry != 0 {
			return false
		}
		last = sum
	}
	return last < uint64(t.Storage.Count)
}

// newObject is NEWOBJ, which makes nothing but an empty ParameterDict.
func (m *machine) newObject() error {
	pair, err := m.popN(2)
	if err != nil {
		return err
	}
	sym, isSymbol := pair[0].(*Symbol)
	args, isTuple := pair[1].(*Tuple)
	if !isSymbol || !isTuple || sym.kind != kindParameterDict || len(args.Items) != 0 {
		if isSymbol {
			return m.refuse(Unsafe, "an instance of %s", sym)
		}
		return m.refuse(Unsafe, "an instance of something that is no symbol")
	}
	m.push(&ParameterDict{})
	return nil
}

// build is BUILD: it sets the state of a ParameterDict, and does nothing to what is opaque anyway.
func (m *machine) build() error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	target, err := m.top()
	if err != nil {
		return err
	}
	switch t := target.(type) {
	case Opaque:
		return nil
	case *ParameterDict:
		d, ok := state.(*Dict)
		if !ok {
			return m.refuse(Unsafe, "the state of a ParameterDict is no dict")
		}
		params, _ := d.Get("_parameters")
		p, ok := params.(*Dict)
		if !ok {
			return m.refuse(Unsafe, "the state of a ParameterDict has no dict of parameters")
		}
		t.Params = p
		if depthOf(t) > m.limits.Depth {
			return m.refuse(TooComplex, "containers lie more than %d deep in each other", m.limits.Depth)
		}
		return nil
	}
	return m.refuse(Unsafe, "a state is set on something that has none")
}

// checkGraph walks the finished value without recursion and refuses what is only visible at the end: a container that
// contains itself by way of others, nesting beyond the limit, a storage type outside of a persistent id.
func (m *machine) checkGraph(root Value) error {
	type frame struct {
		self     any // the container, as map key; nil at the bottom
		children []Value
		next     int
		depth    int // greatest depth of the children seen so far
	}
	const open = -1
	depths := make(map[any]int) // open while on the path, then the container's own depth
	var path []frame
	enter := func(v Value) (depth int, entered bool, err error) {
		if s, ok := v.(*Symbol); ok && s.kind == kindStorageType {
			return 0, false, m.refuse(Unsafe, "the storage type %s outside of a persistent id", s)
		}
		children, isContainer := childrenOf(v)
		if !isContainer {
			return 0, false, nil
		}
		if d, seen := depths[v]; seen {
			if d == open {
				return 0, false, m.refuse(Corrupt, "a container contains itself")
			}
			return d, false, nil
		}
		depths[v] = open
		path = append(path, frame{self: v, children: children})
		return 0, true, nil
	}
	if _, _, err := enter(root); err != nil {
		return err
	}
	for len(path) > 0 {
		f := &path[len(path)-1]
		if f.next < len(f.children) {
			child := f.children[f.next]
			f.next++
			depth, entered, err := enter(child)
			if err != nil {
				return err
			}
			if !entered {
				f.depth = max(f.depth, depth)
			}
			continue
		}
		depth := f.depth + 1
		if depth > m.limits.Depth {
			return m.refuse(TooComplex, "containers lie more than %d deep in each other", m.limits.Depth)
		}
		depths[f.self] = depth
		path = path[:len(path)-1]
		if len(path) > 0 {
			parent := &path[len(path)-1]
			parent.depth = max(parent.depth, depth)
		}
	}
	return nil
}

// childrenOf returns what a container holds, and whether v is one.
func childrenOf(v Value) ([]Value, bool) {
	switch v := v.(type) {
	case *Tuple:
		return v.Items, true
	case *List:
		return v.Items, true
	case *Dict:
		out := make([]Value, len(v.items))
		for i := range v.items {
			out[i] = v.items[i].Value
		}
		return out, true
	case *ParameterDict:
		if v.Params == nil {
			return nil, true
		}
		return []Value{v.Params}, true
	}
	return nil, false
}
