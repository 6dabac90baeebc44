/** The slots of a gateway that is alone keep the contract. */
import { LocalSlots } from '../../../../src/stores/memory/slots.ts';
import { testSlotBroker } from '../../../contracts/slots.ts';

testSlotBroker('a gateway that is alone', () => new LocalSlots());
