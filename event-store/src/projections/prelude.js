// What a projection's script is given, and how it is asked what to do with an event.
//
// Called once, before the script, with what Rust does for it. The script describes itself by the
// functions that stand in the global object until `seal`; from then on `emit` and the like stand
// there. What is returned is for Rust alone.
(function (log, emitsMax) {
  'use strict';
  const { stringify, parse } = JSON;
  const Unreadable = SyntaxError;
  const isObject = (it) => typeof it === 'object' && it !== null;
  const shape = {
    sources: 0, all: false, streams: [], category: null, any: false, types: [],
    partition: 'none', output: false, transforms: false, biState: false, includeLinks: false,
    resultStream: null, partitionResult: null, deleted: false, created: false,
  };
  const handlers = new Map();
  const created = [];
  const transforms = [];
  let init, initShared, any, deleted, partitionBy;
  let state, shared;
  let emitted = [];

  Object.defineProperty(BigInt.prototype, 'toJSON', {
    value() { return this.toString(); }, configurable: true, writable: true,
  });

  function text(value, name) {
    if (typeof value !== 'string' || value.trim() === '') {
      throw new TypeError(`${name} must be a string that says something`);
    }
    return value;
  }

  function fun(value, name) {
    if (typeof value !== 'function') throw new TypeError(`${name} must be a function`);
    return value;
  }

  // What may follow, step by step; what may not is not there.
  const outputs = ['transformBy', 'filterBy', 'outputState', 'outputTo'];
  const follows = {
    fromStream: ['when', 'partitionBy', 'outputState'],
    fromStreams: ['when', 'partitionBy', 'outputState'],
    fromAll: ['when', 'partitionBy', 'outputState', 'foreachStream'],
    fromCategory: ['when', 'partitionBy', 'outputState', 'foreachStream'],
    when: [...outputs, '$defines_state_transform'],
    foreachStream: ['when'],
    partitionBy: ['when'],
    outputState: ['transformBy', 'filterBy', 'outputTo'],
    transformBy: outputs,
    filterBy: outputs,
    outputTo: [],
  };
  const steps = {
    when(given) {
      if (isObject(given)) {
        for (const [name, handler] of Object.entries(given)) {
          if (typeof handler === 'function') handle(name, handler);
        }
      }
      return after('when');
    },
    foreachStream() {
      shape.partition = 'stream';
      return after('foreachStream');
    },
    partitionBy(by) {
      partitionBy = fun(by, 'partitionBy');
      shape.partition = 'custom';
      return after('partitionBy');
    },
    outputState() {
      shape.output = true;
      return after('outputState');
    },
    transformBy(by) {
      transforms.push({ keeps: false, by: fun(by, 'transformBy') });
      shape.transforms = shape.output = true;
      return after('transformBy');
    },
    filterBy(by) {
      transforms.push({ keeps: true, by: fun(by, 'filterBy') });
      shape.transforms = shape.output = true;
      return after('filterBy');
    },
    outputTo(stream, pattern) {
      shape.resultStream = text(stream, 'resultStream');
      if (pattern !== undefined) shape.partitionResult = text(pattern, 'pattern');
      return after('outputTo');
    },
    $defines_state_transform() {
      shape.output = true;
    },
  };

  function after(step) {
    return Object.fromEntries(follows[step].map((name) => [name, steps[name]]));
  }

  function from(source) {
    shape.sources += 1;
    if (shape.sources > 1) throw new Error('a projection has one source');
    source();
  }

  function handle(name, handler) {
    switch (name) {
      case '$init': init = handler; break;
      case '$initShared': initShared = handler; shape.biState = true; break;
      case '$any': any = handler; break;
      case '$created': created.push(handler); shape.created = true; break;
      case '$deleted': deleted = handler; shape.deleted = true; break;
      default: handlers.set(name, handler);
    }
  }

  const typed = (type, name, keep) => (value) => {
    if (typeof value !== type) throw new TypeError(`option ${name} must be a ${type}`);
    keep(value);
  };
  const settings = {
    $includelinks: typed('boolean', '$includeLinks', (it) => { shape.includeLinks = it; }),
    // Events always come in the order of the log here.
    reorderevents: typed('boolean', 'reorderEvents', () => {}),
    processinglag: typed('number', 'processingLag', () => {}),
    resultstreamname: typed('string', 'resultStreamName', (it) => { shape.resultStream = it; }),
    bistate: typed('boolean', 'biState', (it) => { shape.biState = it; }),
  };

  function fromCategory(...given) {
    const categories = given.length === 1 && Array.isArray(given[0]) ? given[0] : given;
    from(() => {
      for (const one of categories) shape.streams.push(`$ce-${text(one, 'category')}`);
      if (categories.length === 1) shape.category = categories[0];
    });
    return after('fromCategory');
  }

  const defining = {
    options(given) {
      for (const [name, value] of Object.entries(given ?? {})) {
        const setting = settings[name.toLowerCase()];
        if (setting === undefined) throw new Error(`there is no option ${name}`);
        setting(value);
      }
    },
    fromAll() {
      from(() => { shape.all = true; });
      return after('fromAll');
    },
    fromStream(stream) {
      from(() => { shape.streams.push(text(stream, 'stream')); });
      return after('fromStream');
    },
    fromStreams(...given) {
      const streams = given.length === 1 && Array.isArray(given[0]) ? given[0] : given;
      from(() => { for (const one of streams) shape.streams.push(text(one, 'stream')); });
      return after('fromStreams');
    },
    fromCategory,
    fromCategories: fromCategory,
    on_event(name, handler) {
      handle(text(name, 'eventName'), fun(handler, 'eventHandler'));
    },
    on_any(handler) {
      handle('$any', fun(handler, 'eventHandler'));
    },
  };

  function push(stream, type, data, metadata, isJson) {
    if (emitted.length >= emitsMax) {
      throw new RangeError(`more than ${emitsMax} events are emitted for one event`);
    }
    emitted.push([stream, type, data, metadata, isJson]);
  }

  function extra(metadata) {
    if (metadata === undefined) return null;
    if (!isObject(metadata) || Array.isArray(metadata)) {
      throw new TypeError('metadata must be an object');
    }
    return stringify(metadata);
  }

  const running = {
    emit(stream, type, body, metadata) {
      if (!isObject(body)) throw new TypeError('eventBody must be an object');
      const name = text(stream, 'streamId');
      push(name, text(type, 'eventName'), stringify(body), extra(metadata), true);
    },
    linkTo(stream, event, metadata) {
      const name = text(stream, 'streamId');
      if (!isObject(event) || typeof event.sequenceNumber !== 'number'
        || typeof event.streamId !== 'string') {
        throw new TypeError('a link leads to an event');
      }
      const target = `${event.sequenceNumber}@${event.streamId}`;
      push(name, '$>', target, extra(metadata), false);
    },
    linkStreamTo(stream, linked, metadata) {
      const name = text(stream, 'streamId');
      push(name, '$@', text(linked, 'linkedStreamId'), extra(metadata), false);
    },
    copyTo() {
      throw new Error('copyTo is not supported: emit the event');
    },
  };

  function place(functions) {
    for (const [name, value] of Object.entries(functions)) {
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    }
  }

  place(defining);
  place({
    log(...said) {
      log(said.map((it) => (isObject(it) ? stringify(it) : String(it))).join(', '));
    },
  });

  // What of an event is parsed only where it is asked for.
  const parsed = Symbol('parsed');
  function lazy(raw, isThere) {
    return {
      enumerable: true,
      get() {
        if (!isThere(this)) return undefined;
        const known = this[parsed];
        if (!(raw in known)) known[raw] = parse(this[raw]);
        return known[raw];
      },
    };
  }
  const hasText = (raw) => (event) => typeof event[raw] === 'string' && event[raw] !== '';
  const body = lazy('bodyRaw', (event) => event.isJson && hasText('bodyRaw')(event));
  const parts = {
    body,
    data: body,
    metadata: lazy('metadataRaw', hasText('metadataRaw')),
    linkMetadata: lazy('linkMetadataRaw', hasText('linkMetadataRaw')),
  };
  function dress(event) {
    Object.defineProperty(event, parsed, { value: {} });
    return Object.defineProperties(event, parts);
  }

  function bodyAsState(event) {
    try {
      return parse(event.bodyRaw);
    } catch (error) {
      // What is no JSON is taken as it is; too large for the memory is another matter.
      if (error instanceof Unreadable) return event.bodyRaw;
      throw error;
    }
  }

  function apply(event) {
    const handler = handlers.get(event.eventType) ?? any;
    const both = shape.biState ? [state, shared] : state;
    let next = handler === undefined ? bodyAsState(event) : handler(both, event);
    if (next === undefined) next = both;
    if (shape.biState && Array.isArray(next)) [state, shared] = next;
    else state = next;
  }

  function result() {
    let now = state;
    for (const { keeps, by } of transforms) {
      const next = by(now);
      if (keeps && next !== true) return null;
      if (!keeps) now = next;
      if (now === null || now === undefined) return null;
    }
    return stringify(now) ?? null;
  }

  const kept = (it) => (it === undefined || it === null ? null : stringify(it) ?? null);

  return {
    seal() {
      for (const name of Object.keys(defining)) delete globalThis[name];
      place(running);
      if (shape.biState && shape.deleted) {
        throw new Error('a projection with a shared state cannot handle $deleted');
      }
      shape.any = any !== undefined || handlers.size === 0;
      shape.types = [...handlers.keys()];
      return stringify(shape);
    },
    partition(event) {
      const found = partitionBy(dress(event));
      if (typeof found === 'number') return String(found);
      return typeof found === 'string' ? found : null;
    },
    load(stored, storedShared) {
      if (stored !== undefined) {
        state = stored !== null ? parse(stored) : init === undefined ? {} : init();
      }
      if (storedShared !== undefined) {
        shared = storedShared !== null ? parse(storedShared)
          : initShared === undefined ? {} : initShared();
      }
    },
    step(event, deletedPartition, isNew) {
      emitted = [];
      if (typeof deletedPartition === 'string') {
        if (deleted !== undefined) deleted(state, null, deletedPartition, false);
      } else {
        dress(event);
        if (isNew) {
          for (const handler of created) handler(shape.biState ? [state, shared] : state, event);
        }
        apply(event);
      }
      const told = transforms.length > 0 ? result() : null;
      return [kept(state), shape.biState ? kept(shared) : null, told, emitted];
    },
  };
})
